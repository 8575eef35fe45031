"""Print a plan."""

import sys
from collections.abc import Iterator

from rich.box import HORIZONTALS
from rich.console import Console
from rich.table import Table
from rich.text import Text

from medrobust.evaluation.progress.countdown import duration
from medrobust.planning.clock import NOTHING
from medrobust.planning.plan import Images, Line, Plan
from medrobust.planning.precision import (
    DISCORDANT,
    detectable_difference,
    half_width,
    images_for,
)

_NAMES = ("data", "model", "objective", "threat", "surrogate", "defense", "attack")
_ALWAYS = ("threat", "defense", "attack")
_POINTS = (5.0, 3.0, 1.0)
"""Half-widths in points whose numbers of images are printed unless one is given."""
_LINES = 40
"""Lines of the table; of a longer plan those that take longest."""


def show(plan: Plan, points: float | None = None, console: Console | None = None) -> None:
    """Print a plan.

    Args:
        plan: plan to print.
        points: half-width wanted, in percentage points; None for a few.
        console: output console; by default standard output.
    """
    if console is None:
        width = None if sys.stdout.isatty() else 200
        console = Console(highlight=False, width=width)
    total = plan.total
    left = total.cells - total.done
    head = f"Plan: {_count(total.cells, 'cell')}, {total.done} done, {left} to compute"
    console.print(Text(head, style="bold"), soft_wrap=True)
    console.print(_table(plan), crop=False)
    for line in lines(plan, points):
        console.print(Text(line), soft_wrap=True)


def lines(plan: Plan, points: float | None) -> Iterator[str]:
    """Yield the sentences below the table.

    Args:
        plan: plan to print.
        points: half-width wanted, in percentage points; None for a few.
    """
    total = plan.total
    known = total.cells - total.done - total.unknown
    if known or total.unknown:
        rest = f", without {_count(total.unknown, 'cell')} not measured" if total.unknown else ""
        time = _time(total) if known else "not measured"
        rows = ", in part as finished rows recorded it" if plan.recorded else ""
        yield f"Time: {time} on this machine ({plan.device}), one cell after another{rows}{rest}"
    for (name, split), images in plan.images.items():
        yield from _precision(name, split, images, points)
    if plan.draws > 1:
        yield (
            f"Draws: {plan.draws} draws of a randomized defense repeat the same images; they do "
            "not narrow these intervals"
        )
    if plan.commands:
        what = _count(len(plan.commands), "checkpoint")
        then = "they are trained first" if plan.trains else "run, or set train=missing"
        yield f"Missing: {what}, whose training is not in the time; {then}:"
        yield from (f"  {command}" for command in plan.commands)
    for problem, cells in plan.problems.items():
        yield f"Problem: {_count(cells, 'cell')}: {problem}"


def _precision(name: str, split: str, images: Images, points: float | None) -> Iterator[str]:
    where = f"{name}, split {split}"
    if images.asked is not None and images.asked > images.whole:
        yield (
            f"Images: data.limit_{split}={images.asked}, but {where} has only {images.whole}; all "
            "are used"
        )
    half = 100 * half_width(images.n)
    yield (
        f"Images: {images.n} of the {images.whole} of {where} give ± {half:.1f} points or less "
        "(Wilson, 95 %, widest at 50 %)"
    )
    wanted = _POINTS if points is None else (points,)
    needed = [images_for(one / 100) for one in wanted]
    sizes = ", ".join(
        f"± {one:g} points: {n}" + (" (more than there are)" if n > images.whole else "")
        for one, n in zip(wanted, needed, strict=True)
    )
    yield f"        {sizes} images"
    least = detectable_difference(images.n)
    shown = (
        f"no difference below {100 * DISCORDANT:.0f} points" if least is None
        else f"a difference of {100 * least:.1f} points"
    )  # fmt: skip
    yield (
        f"        Two defenses that disagree on {100 * DISCORDANT:.0f} % of the images: {shown} is "
        "shown with 80 % power (McNemar, one test at 5 %)"
    )


def _table(plan: Plan) -> Table:
    """Return the table of the lines, without names that are the same in all."""
    varied = [
        place
        for place, name in enumerate(_NAMES)
        if name in _ALWAYS or len({names[place] for names in plan.lines}) > 1
    ]
    table = Table(box=HORIZONTALS)
    for place in varied:
        table.add_column(_NAMES[place], overflow="fold")
    for heading in ("cells", "done", "time"):
        table.add_column(heading, justify="right")
    longest = sorted(plan.lines, key=lambda names: -plan.lines[names].seconds.seconds)[:_LINES]
    for names in (names for names in plan.lines if names in longest):
        line = plan.lines[names]
        cells = [names[place] for place in varied]
        table.add_row(*cells, str(line.cells), str(line.done), _time(line))
    rest = [line for names, line in plan.lines.items() if names not in longest]
    if rest:
        seconds = sum((line.seconds for line in rest), NOTHING)
        more = Line(
            sum(line.cells for line in rest),
            sum(line.done for line in rest),
            seconds,
            sum(line.unknown for line in rest),
        )
        blank = [""] * (len(varied) - 1)
        table.add_row(f"{len(rest)} more", *blank, str(more.cells), str(more.done), _time(more))
    return table


def _time(line: Line) -> str:
    left = line.cells - line.done
    if not left:
        return "–"
    if line.unknown == left:
        return "?"
    sign = "≥ " if line.seconds.at_least or line.unknown else ""
    return sign + duration(line.seconds.seconds)


def _count(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
