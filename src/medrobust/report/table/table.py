"""Table of our numbers, the paper's, and missing cells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medrobust.metric.definition import Unit, unit_of
from medrobust.report.table.label import Level
from medrobust.report.table.reference import PaperValue
from medrobust.result.flag import Flag
from medrobust.result.row import Row

METRIC = "metric"
"""Column axis of a table of several metrics."""

Status = Literal["done", "failed", "missing"]
Heading = tuple[Level, ...]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        row: computed row, None if missing.
        value: value of the metric, None if failed, missing, or not measured.
        interval: 95 % interval of the value, if the row has one.
        flags: failed attack-strength checks, of the row and between rows, and whether other code
            than today's made it.
        paper: the paper's number, None if it prints none.
        metric: metric of the cell; empty for the table's metric.
        unit: unit of the metric.
        derived: whether it is computed from other cells instead of a row of its own.
        unmeasured: whether those cells exist but have no such measure.
        rows: rows that it is the mean of, where it is one over seeds; then it has no row.
        sd: standard deviation over them, with one degree of freedom less; None for a single one.
        by: of a worst case, the attacks and the number of images that each is chosen for.
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
    rows: tuple[Row, ...] = ()
    sd: float | None = None
    by: str = ""

    @property
    def status(self) -> Status:
        """Return whether the cell is done, failed or missing."""
        if self.row is None:
            return "done" if self.unmeasured or self.value is not None else "missing"
        return "done" if self.row.status == "done" else "failed"

    @property
    def n(self) -> int | None:
        """Return the number of images evaluated."""
        counts = {row.n for row in self.members}
        return counts.pop() if len(counts) == 1 and self.status == "done" else None

    @property
    def members(self) -> tuple[Row, ...]:
        """Return the row, or the rows that the cell is the mean of."""
        return self.rows or ((self.row,) if self.row else ())

    @property
    def difference(self) -> float | None:
        """Return our value minus the paper's."""
        if self.value is None or self.paper is None:
            return None
        return round(self.value - self.paper.value, 12)

    @property
    def paper_in_interval(self) -> bool | None:
        """Return whether the paper's number lies in our interval; None if either is absent."""
        if self.interval is None or self.paper is None:
            return None
        low, high = self.interval
        return low <= self.paper.value <= high


@dataclass(frozen=True)
class Difference:
    """Two cells that differ in the defense alone, tested on their common images.

    Attributes:
        column: what they share, of the axes that vary.
        line: the first defense.
        other: the second.
        row_id: row of the first.
        other_id: row of the second.
        difference: value of the first minus that of the second.
        only_first: images that only the first answers right, or better.
        only_second: likewise for the second.
        test: `mcnemar`, `permutation` or `permutation of groups`; see `metric.paired`.
        p: two-sided p-value.
        p_corrected: the same, corrected for all tests of the table.
    """

    column: str
    line: str
    other: str
    row_id: str
    other_id: str
    difference: float
    only_first: int
    only_second: int
    test: str
    p: float
    p_corrected: float


@dataclass(frozen=True)
class Table:
    """A table, ready to be rendered.

    Attributes:
        title: heading, with PHANTOM if the data are generated stand-ins.
        caption: names that all cells share.
        metric: metric of the cells.
        percent: whether proportions are shown times 100.
        best: which value of a column is best: `high`, `low` or `none`.
        row_headings: places on the row axes, top to bottom.
        column_headings: places on the column axes, left to right.
        row_axes: the row axes that vary, which are printed.
        column_axes: the column axes that vary, likewise.
        cells: row by row.
        flags: distinct flags; a cell's marks are their numbers, from 1.
        notes: footnotes.
        provenance: sentences on the code that made the numbers.
        phantom: whether the data are generated; then no paper's numbers are shown.
        heading: heading of a block; empty for a whole table.
        apart: row axes, such as budgets, whose levels each have their own best value.
        units: units of metrics that this package does not define.
        own_attacks: defenses with attacks that the others do not meet.
        differences: tests of each two defenses.
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
    provenance: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    units: Mapping[str, Unit] = field(default_factory=dict)
    own_attacks: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def unit(self) -> Unit:
        """Return the unit of the table's metric."""
        return self.unit_of(self.metric)

    def unit_of(self, metric: str) -> Unit:
        """Return the unit of any metric of the rows."""
        return self.units.get(metric) or unit_of(metric)

    def in_percent(self, unit: Unit) -> bool:
        """Return whether values of a unit are shown in percent."""
        return self.percent and unit == "proportion"

    def count(self, status: Status) -> int:
        """Return the number of cells with a status, without derived ones."""
        cells = (cell for line in self.cells for cell in line if not cell.derived)
        return sum(cell.status == status for cell in cells)

    @property
    def has_paper(self) -> bool:
        """Return whether any cell has a paper's number."""
        return any(cell.paper for line in self.cells for cell in line)

    def marks(self, cell: Cell) -> tuple[int, ...]:
        """Return the numbers of the cell's flags in `flags`."""
        return tuple(sorted(self.flags.index(flag) + 1 for flag in cell.flags))
