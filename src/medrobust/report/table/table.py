"""Rows pivoted into a table: ours, the paper's, and what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from medrobust.metric.definition import Unit, unit_of
from medrobust.report.table.label import Level
from medrobust.report.table.reference import PaperValue
from medrobust.result.flag import Flag
from medrobust.result.row import Row

if TYPE_CHECKING:
    pass

METRIC = "metric"
"""Column axis of a table of several metrics."""

Status = Literal["done", "failed", "missing"]
Heading = tuple[Level, ...]


@dataclass(frozen=True)
class Cell:
    """One place of a table.

    Attributes:
        row: what was computed, None when missing.
        value: the metric, None when failed, missing, or not measured here.
        interval: its 95 % interval, when the row has one.
        flags: failed attack-strength checks, of the row and between rows, and whether other code
            than today's made it.
        paper: the paper's number, None when it prints none.
        metric: what it measures; empty = the table's metric.
        unit: how that is printed.
        derived: it is made of other cells, and no cell of the sweep by itself.
        unmeasured: those are there, and have no such measure.
    """

    row: Row | None = None
    value: float | None = None
    interval: tuple[float, float] | None = None
    flags: tuple[Flag, ...] = ()
    paper: PaperValue | None = None
    metric: str = ""
    unit: Unit = "proportion"
    derived: bool = False
    unmeasured: bool = False

    @property
    def status(self) -> Status:
        """Whether it was computed."""
        if self.row is None:
            return "done" if self.unmeasured or self.value is not None else "missing"
        return "done" if self.row.status == "done" else "failed"

    @property
    def n(self) -> int | None:
        """Images evaluated."""
        return self.row.n if self.row and self.status == "done" else None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        if self.value is None or self.paper is None:
            return None
        return round(self.value - self.paper.value, 12)

    @property
    def paper_in_interval(self) -> bool | None:
        """Whether the paper's number lies in our interval; None when either is absent."""
        if self.interval is None or self.paper is None:
            return None
        low, high = self.interval
        return low <= self.paper.value <= high


@dataclass(frozen=True)
class Table:
    """A table, ready to be rendered.

    Attributes:
        title: heading; says PHANTOM when the data are generated stand-ins.
        caption: what is the same in all cells.
        metric: what the cells show.
        percent: whether proportions are shown times 100.
        best: which value of a column is best: `high`, `low` or `none`.
        row_headings: places on the row axes, top to bottom.
        column_headings: places on the column axes, left to right.
        row_axes: the row axes that vary, and so are printed.
        column_axes: the column axes that vary.
        cells: row by row.
        flags: distinct flags; a cell's marks are their numbers, from 1.
        notes: footnotes.
        phantom: no paper's numbers, and no claim.
        heading: of a block; empty when the table is whole.
        apart: row axes between whose levels no best is sought, such as budgets.
        units: of metrics that this package does not define.
    """

    title: str
    caption: str
    metric: str
    percent: bool
    best: str
    row_headings: tuple[Heading, ...]
    column_headings: tuple[Heading, ...]
    row_axes: tuple[str, ...]
    column_axes: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    flags: tuple[Flag, ...]
    notes: tuple[str, ...]
    phantom: bool
    heading: str = ""
    apart: tuple[str, ...] = ()
    units: Mapping[str, Unit] = field(default_factory=dict)

    @property
    def unit(self) -> Unit:
        """Unit of the table's metric."""
        return self.unit_of(self.metric)

    def unit_of(self, metric: str) -> Unit:
        """Unit of any metric of the rows."""
        return self.units.get(metric) or unit_of(metric)

    def in_percent(self, unit: Unit) -> bool:
        """Return whether values of a unit are shown in percent."""
        return self.percent and unit == "proportion"

    def count(self, status: Status) -> int:
        """Number of cells with a status; derived ones are none."""
        cells = (cell for line in self.cells for cell in line if not cell.derived)
        return sum(cell.status == status for cell in cells)

    @property
    def has_paper(self) -> bool:
        """Whether any cell has a paper's number."""
        return any(cell.paper for line in self.cells for cell in line)

    def marks(self, cell: Cell) -> tuple[int, ...]:
        """Numbers of the cell's flags in `flags`."""
        return tuple(sorted(self.flags.index(flag) + 1 for flag in cell.flags))
