"""Text of cells, headings and legend, shared by all renderers."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from medrobust.metric.definition import Unit
from medrobust.report.table.block import blocks
from medrobust.report.table.clean import CLEAN, PREFIX
from medrobust.report.table.label import Level
from medrobust.report.table.measure import printed
from medrobust.report.table.table import Cell, Heading, Table
from medrobust.report.table.worst import SUFFIX

FAILED, MISSING, UNMEASURED, OUTSIDE = "✗", "—", "·", "*"

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Parts:
    """Text of a cell.

    Attributes:
        ours: number, or the sign for failed, missing or not measured.
        paper: the paper's number, or empty.
        difference: ours minus the paper's, signed, or empty.
        outside: whether the paper's number lies outside our interval.
        marks: numbers of the flags.
    """

    ours: str
    paper: str
    difference: str
    outside: bool
    marks: tuple[int, ...]

    def lines(self, count: int = 1) -> str:
        """Return the cell on one line, `64.2¹ / 67.3 (−3.1)*`, or broken into two or three."""
        ours = self.ours + superscript(self.marks)
        if not self.paper:
            return ours
        first, second = {1: (" / ", " "), 2: ("\n", " "), 3: ("\n", "\n")}[count]
        difference = self.difference if count == 3 else f"({self.difference})"
        return f"{ours}{first}{self.paper}{second}{difference}" + OUTSIDE * self.outside


def parts(table: Table, cell: Cell) -> Parts:
    """Return the text of a cell, with Unicode minus signs."""
    if cell.status == "failed":
        return Parts(FAILED, "", "", False, ())
    if cell.status == "missing":
        return Parts(MISSING, "", "", False, ())
    if cell.value is None:
        return Parts(UNMEASURED, "", "", False, table.marks(cell))
    ours = number(table, cell.value, unit=cell.unit)
    if cell.sd is not None:
        ours += f" ± {number(table, cell.sd, unit=cell.unit)}"
    if cell.paper is None or cell.difference is None:
        return Parts(ours, "", "", False, table.marks(cell))
    return Parts(
        ours,
        number(table, cell.paper.value, unit=cell.unit),
        number(table, cell.difference, unit=cell.unit, sign=True),
        cell.paper_in_interval is False,
        table.marks(cell),
    )


def number(table: Table, value: float, *, unit: Unit, sign: bool = False) -> str:
    """Return a value as the table prints it, with a Unicode minus; see `measure.printed`."""
    shown = printed(value, unit, percent=table.percent)
    if not shown.strip("-0."):
        shown = shown.lstrip("-")
        return f"±{shown}" if sign else shown
    plus = "+" if sign and value > 0 else ""
    return plus + shown.replace("-", "−")


def superscript(marks: tuple[int, ...]) -> str:
    """Return marks such as ¹ or ¹,²."""
    return ",".join(str(mark) for mark in marks).translate(_SUPERSCRIPT)


def shown(heading: Heading, axes: tuple[str, ...]) -> list[Level]:
    """Return the levels of a heading that the table prints."""
    return [level for level in heading if level.axis in axes]


def opened(headings: Sequence[Heading], axes: tuple[str, ...]) -> list[int]:
    """Return for each heading the outermost level that differs from the heading before.

    The first heading has 0. Levels outside of that one repeat and need not be printed again.
    """
    places = [shown(heading, axes) for heading in headings]
    starts = [0]
    for before, place in itertools.pairwise(places):
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, place, strict=True))
        starts.append(sum(1 for _ in same))
    return starts


def side_labels(table: Table) -> list[list[str]]:
    """Return the labels of each row; a label that repeats the row above is empty."""
    starts = opened(table.row_headings, table.row_axes)
    return [
        [
            level.label if depth >= start else ""
            for depth, level in enumerate(shown(heading, table.row_axes))
        ]
        for heading, start in zip(table.row_headings, starts, strict=True)
    ]


def spans(table: Table) -> list[list[tuple[str, int]]]:
    """Return the labels of each column axis, outermost first, and the columns each spans."""
    starts = opened(table.column_headings, table.column_axes)
    rows: list[list[tuple[str, int]]] = [[] for _ in table.column_axes]
    for heading, start in zip(table.column_headings, starts, strict=True):
        for depth, level in enumerate(shown(heading, table.column_axes)):
            if depth >= start:
                rows[depth].append((level.label, 1))
            else:
                label, width = rows[depth][-1]
                rows[depth][-1] = (label, width + 1)
    return rows


def legend(table: Table) -> list[str]:
    """Return the explanation of the signs and marks that occur."""
    cells = [
        (cell, parts(table, cell))
        for block in blocks(table)
        for line in block.cells
        for cell in line
    ]
    several = len({cell.metric for cell, _ in cells if cell.metric and not cell.derived}) > 1
    metric = "Metrics" if several else table.metric.replace("_", " ")
    metric += ", %" if any(table.in_percent(cell.unit) for cell, _ in cells) else ""
    lines = [f"{metric}: ours / paper (ours − paper)." if table.has_paper else f"{metric}."]
    if any(text.outside for _, text in cells):
        lines.append(f"{OUTSIDE} the paper's number lies outside our 95 % interval.")
    if any(cell.sd is not None for cell, _ in cells):
        lines.append("± standard deviation over seeds.")
    means = [cell for cell, _ in cells if _is_mean(cell)]
    if any(cell.interval for cell in means):
        lines.append("A mean's interval is the mean of its cells'.")
    if any(cell.status == "missing" for cell in means):
        lines.append(f"{MISSING} for a mean: some of its cells are missing.")
    if any(_is_clean(cell) and cell.value is not None for cell, _ in cells):
        lines.append(f"{CLEAN}: before the attack, on the same images.")
    lines += worst_lines(table)
    said = {FAILED: "failed", MISSING: "not run", UNMEASURED: "not measured here"}
    seen = {text.ours for cell, text in cells if not (_is_mean(cell) or is_worst(cell))}
    signs = [f"{sign} {meaning}" for sign, meaning in said.items() if sign in seen]
    return lines + ([f"{'; '.join(signs)}."] if signs else [])


def _is_mean(cell: Cell) -> bool:
    return cell.derived and cell.metric.endswith("_mean")


def _is_clean(cell: Cell) -> bool:
    return cell.derived and bool(cell.rows) and cell.metric.startswith(PREFIX)


def worst_lines(table: Table) -> list[str]:
    """Return the explanation of worst cases, empty without any."""
    worsts = [cell for line in table.cells for cell in line if is_worst(cell)]
    lines = []
    if worsts:
        lines.append(
            "worst: every image under the attack of the line that hurts it most, of attacks of one "
            "norm and radius."
        )
    if any(cell.unmeasured for cell in worsts):
        lines.append(
            f"{UNMEASURED} for a worst case: attacks of several norms or radii, or a randomized "
            "defense that is judged by one draw (set defender_draws=10)."
        )
    return lines


def is_worst(cell: Cell) -> bool:
    """Return whether a cell is the worst case over others."""
    return cell.derived and cell.metric.endswith(SUFFIX)
