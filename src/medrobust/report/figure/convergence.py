"""Loss and success of attacks step by step: evidence that they converged."""

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medrobust.report.figure.core.base import Drawing, Figure, Source, canvas, heading
from medrobust.report.figure.core.style import COLUMN, PAGE, PALETTE, look
from medrobust.report.table.config import SEEDS
from medrobust.report.table.label import axis_value, choice_levels
from medrobust.result.convergence import Convergence as Recorded
from medrobust.result.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACROSS, _HEIGHT = 3, 3.3  # columns side by side; inches


@dataclass(frozen=True, kw_only=True)
class Convergence(Figure):
    """One column per attacked cell: losses of its images above, share that reached the goal below.

    A curve is the largest loss so far, one colour per image, with a dot where the goal was first
    reached; it is broken where the attack changes to another loss or another view of the system.
    """

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing.

        Raises:
            FigureError: no cell has recorded losses.
        """
        cells: list[tuple[Row, Recorded]] = []
        for row in source.rows:
            found = source.read(row, "convergence.npz", Recorded.read)
            if found is not None and len(found.loss):
                cells.append((row, found))
        if not cells:
            raise source.lacks(
                "no attacked cell has recorded losses: run the sweep with 'convergence={images: 4}'"
            )
        across = 2 if len(cells) == 4 else min(_ACROSS, len(cells))
        down = -(-len(cells) // across)
        made = canvas(COLUMN if across == 1 else PAGE, down * _HEIGHT)
        heading(made, self.title, any(row.phantom for row, _ in cells))
        grid = made.subplots(2 * down, across, squeeze=False, height_ratios=[3, 2] * down)
        for axes in grid[-2:, len(cells) - across * (down - 1) :].flat:
            axes.set_axis_off()
        titles = _titles([row for row, _ in cells])
        for number, ((_, found), title) in enumerate(zip(cells, titles, strict=True)):
            line, column = divmod(number, across)
            above, below = grid[2 * line : 2 * line + 2, column]
            above.set_title("\n".join(textwrap.wrap(title, 100 // across)))
            _losses(above, found)
            _reached(below, found)
            below.sharex(above)
            above.tick_params(labelbottom=False)
            if column == 0:
                above.set_ylabel("largest loss so far")
                below.set_ylabel("images fooled (%)")
        made.align_ylabels()
        caption = (
            "Attacks step by step on a few images, by the number of candidates shown to the model: "
            "the largest loss so far (a curve per image, broken where loss or view change, a dot "
            "where the goal is first reached), and the share of the images that reached it."
        )
        return [Drawing(self.name, caption, made)]


def best_so_far(found: Recorded, place: int) -> NDArray[np.float64]:
    """Return the largest loss of an image since its stage began, at each of its events."""
    events = found.events(place)
    loss, stage = found.loss[events], found.stage[events]
    starts = [0, *(np.flatnonzero(np.diff(stage)) + 1), len(loss)]
    parts = [np.fmax.accumulate(loss[start:end]) for start, end in itertools.pairwise(starts)]
    return np.concatenate(parts) if parts else loss


def share_reached(found: Recorded) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return candidates at which an image first reached the goal, ascending, and the share then."""
    first = []
    for place in range(len(found.ids)):
        events = found.events(place)
        hits = np.flatnonzero(found.reached[events])
        if len(hits):
            first.append(int(found.asked[events][hits[0]]))
    at = np.array(sorted(first), np.int64)
    return at, np.arange(1, len(at) + 1) / len(found.ids)


def _titles(rows: Sequence[Row]) -> list[str]:
    """Return attack, defense and threat of each row, with the settings and seeds that differ."""
    levels = zip(*(choice_levels(rows, axis, ()) for axis in ("attack", "defense")), strict=True)
    shared = [axis for axis in SEEDS if len({axis_value(row, axis) for row in rows}) == 1]
    return [
        " · ".join(
            [
                *(level.label for level in place if level.choice),
                *filter(None, [row.cell.get("threat", "")]),
                *(
                    f"{axis.replace('_', ' ')} {axis_value(row, axis)}"
                    for axis in SEEDS
                    if axis not in shared
                ),
            ]
        )
        for row, place in zip(rows, levels, strict=True)
    ]


def _losses(axes: "Axes", found: Recorded) -> None:
    count = len(found.ids)
    for place in range(count):
        events, looks = found.events(place), look(place, count)
        asked, stage, best = found.asked[events], found.stage[events], best_so_far(found, place)
        breaks = np.flatnonzero(np.diff(stage)) + 1
        axes.plot(
            np.insert(asked.astype(np.float64), breaks, np.nan),
            np.insert(best, breaks, np.nan),
            **(looks.line() | {"linewidth": 1.1}),
            marker="." if len(asked) == 1 else None,
        )
        hits = np.flatnonzero(found.reached[events])
        if len(hits):
            axes.plot(
                [asked[hits[0]]],
                [best[hits[0]]],
                linestyle="none",
                marker=looks.marker,
                color=looks.colour,
                markersize=4.5,
                zorder=4,
            )
    axes.grid(visible=True)


def _reached(axes: "Axes", found: Recorded) -> None:
    at, share = share_reached(found)
    last = int(found.asked.max())
    ends = [share[-1] if len(share) else 0.0]
    axes.step(
        *([0, *at, last], [0.0, *(100 * share), *(100 * np.array(ends))]),
        where="post",
        color=PALETTE[0],
    )
    axes.set_ylim(-4, 104)
    axes.set_yticks(range(0, 101, 50))
    axes.set_xlabel("candidates shown to the model")
    axes.locator_params(axis="x", nbins=5)
    axes.grid(visible=True)


KIND = Convergence
