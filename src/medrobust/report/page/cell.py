"""View of a cell for the page."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medrobust.metric.definition import Unit, of_class
from medrobust.report.failure import reason
from medrobust.report.page.confusion import Confusion, confusion
from medrobust.report.page.picture import Strips, strips
from medrobust.report.render.best import best
from medrobust.report.render.colour import heat
from medrobust.report.render.text import Parts, number, parts, shown
from medrobust.report.table.label import readable, variant
from medrobust.report.table.setting import ABSENT
from medrobust.report.table.table import Cell, Table
from medrobust.result.row import Row


@dataclass(frozen=True)
class Measure:
    """A metric of a row.

    Attributes:
        value: stored value.
        text: printed value.
        interval: `38.0 to 44.5`, or empty.
    """

    value: float
    text: str
    interval: str


@dataclass(frozen=True)
class CellView:
    """One cell of the table with everything that the page shows of it.

    Attributes:
        number: number of the cell from 0, row by row.
        anchor: number of the first cell with the same row, whose details are at `cell-<anchor>`.
        side: label of its line, with that of its block.
        line: label of its line.
        top: label of its column.
        place: label on each axis of the table, printed in its block or not.
        cell: the cell.
        text: text as in the text tables.
        bold: whether it is the best of its column.
        ground: background colour of the heat map, or empty.
        ink: text colour on it.
        interval: `38.0 to 44.5`, or empty.
        percent: whether its number is in percent.
        measures: metric -> measured value.
        confusions: matrices before and after the attack, as far as the row has them.
        pictures: image strips, or None.
        reason: reason of a failure, in one line.
        members: images that each member of its ensemble attack decided, or empty.
        again: command that runs this cell.
        defense: label of its defense.
    """

    number: int
    anchor: int
    side: str
    line: str
    top: str
    place: Mapping[str, str]
    cell: Cell
    text: Parts
    bold: bool
    ground: str
    ink: str
    interval: str
    percent: bool
    measures: Mapping[str, Measure]
    confusions: tuple[Confusion, ...]
    pictures: Strips | None
    reason: str
    members: str
    again: str
    defense: str

    @property
    def row(self) -> Row | None:
        """Return the computed row, None if the cell is missing."""
        return self.cell.row

    @property
    def value(self) -> float | None:
        """Return the measured value."""
        return self.cell.value

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings of attack and defense as text."""
        if self.row is None:
            return {}
        said = {}
        for axis in ("attack", "defense"):
            own = variant(self.row, axis)
            texts = [f"{key} = {readable(value)}" for key, value in own.items() if key != "class"]
            said[axis] = ", ".join([self.row.cell.get(axis, ""), *texts])
        return said


def views(
    table: Table,
    pictures: Mapping[str, Path],
    members: Mapping[str, str],
    before: Sequence[CellView] = (),
) -> list[list[CellView]]:
    """Return the views of all cells, line by line.

    Args:
        table: the table of the page, or a block of it.
        pictures: row id -> path of its strips, if it has any.
        members: row id -> images that each member of its attack decided.
        before: cells of the blocks above.
    """
    bold = best(table)
    span = _span(table)
    anchors = {view.row.id: view.anchor for view in before if view.row}
    side = ("threat", *table.row_axes) if table.heading else table.row_axes
    made: list[list[CellView]] = []
    place = len(before)
    for down, (heading, cells) in enumerate(zip(table.row_headings, table.cells, strict=True)):
        line = []
        for across, (other, cell) in enumerate(zip(table.column_headings, cells, strict=True)):
            levels = (*heading, *other)
            row = cell.row
            colours = ("", "")
            if cell.value is not None and cell.unit == table.unit:
                colours = heat((cell.value - span[0]) / (span[1] - span[0]))
            defense = " ".join(
                level.label
                for level in levels
                if level.axis.partition(".")[0] == "defense" and level.label != ABSENT
            )
            line.append(
                CellView(
                    number=place,
                    anchor=anchors.setdefault(row.id, place) if row else place,
                    side=" · ".join(level.label for level in shown(heading, side)),
                    line=" · ".join(level.label for level in shown(heading, table.row_axes)),
                    top=" · ".join(level.label for level in shown(other, table.column_axes)),
                    place={level.axis: level.label for level in levels},
                    cell=cell,
                    text=parts(table, cell),
                    bold=(down, across) in bold,
                    ground=colours[0],
                    ink=colours[1],
                    interval=_ends(table, cell.interval or (), cell.unit),
                    percent=table.in_percent(cell.unit),
                    measures=_measures(table, row) if row else {},
                    confusions=_confusions(row) if row else (),
                    pictures=strips(pictures[row.id]) if row and row.id in pictures else None,
                    reason=reason(row.error) if row and row.error else "",
                    members=members.get(row.id, "") if row else "",
                    again=shlex.join(["medrobust", "evaluate", *row.overrides]) if row else "",
                    defense=defense or (row.cell.get("defense", "") if row else ""),
                )
            )
            place += 1
        made.append(line)
    return made


def metrics(views: Sequence[CellView], first: str) -> list[str]:
    """Return the names of all metrics of the cells, the table's own first."""
    names = dict.fromkeys(name for view in views for name in view.measures)
    return [first, *(name for name in names if name != first)]


def _span(table: Table) -> tuple[float, float]:
    """Return the ends of the colour scale: 0 to 1 for proportions, else the values' range."""
    cells = (cell for line in table.cells for cell in line if cell.unit == table.unit)
    known = [cell.value for cell in cells if cell.value is not None]
    if table.in_percent(table.unit) or not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    return (low, high) if high > low else (low, low + 1.0)


def _measures(table: Table, row: Row) -> dict[str, Measure]:
    found = {}
    wanted = {table.metric, *(cell.metric for line in table.cells for cell in line)}
    for name, value in row.metrics.items():
        if of_class(name) and name not in wanted:  # many, and in the row
            continue
        unit = table.unit_of(name)
        ends = _ends(table, row.intervals.get(name, ()), unit)
        found[name] = Measure(value, number(table, value, unit=unit), ends)
    return found


def _ends(table: Table, interval: Sequence[float], unit: Unit) -> str:
    return " to ".join(number(table, end, unit=unit) for end in interval)


def _confusions(row: Row) -> tuple[Confusion, ...]:
    made = (
        confusion("Before: clean images", row.clean_confusion, row.classes),
        confusion("After: attacked images", row.confusion, row.classes),
    )
    return tuple(item for item in made if item is not None)
