"""Convert a table to tidy data: one line per cell."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medrobust.report.failure import reason
from medrobust.report.render.text import shown
from medrobust.report.table.label import axis_value
from medrobust.report.table.table import Cell, Heading, Table
from medrobust.result.row import CELL
from medrobust.spreadsheet import inert

if TYPE_CHECKING:
    from pandas import DataFrame


def records(table: Table) -> list[dict[str, Any]]:
    """Return one flat record per cell, row by row, all with the same keys.

    Values, intervals and the paper's numbers are as stored (proportions in [0, 1]), regardless of
    `table.percent`. Fields that do not apply are None. A cell that was not run has the names of its
    place in the table.
    """
    undefended = _undefended(table)
    return [
        _record(table, down, across, cell) | {"p_undefended": _p(cell, undefended)}
        for down, line in zip(table.row_headings, table.cells, strict=True)
        for across, cell in zip(table.column_headings, line, strict=True)
    ]


def frame(table: Table) -> "DataFrame":
    """Return the records as a data frame."""
    from pandas import DataFrame

    return DataFrame(records(table))


def render(table: Table) -> str:
    """Return the records as CSV text; see `lines`."""
    return lines(records(table))


def lines(found: Sequence[Mapping[str, Any]]) -> str:
    """Return one or more records of the same keys as CSV text.

    Text that looks like a formula gets an apostrophe.
    """
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: inert(value) for key, value in line.items()} for line in found)
    return file.getvalue()


def _common(values: Iterable[str]) -> str | int | None:
    """Return the different values, space by space, a single number as such, None without any."""
    text = " ".join(dict.fromkeys(filter(None, values)))
    return int(text) if text.isdecimal() else text or None


def _undefended(table: Table) -> dict[str, float]:
    """Return the corrected p-value of each row's difference from the undefended one."""
    bare = {
        cell.row.id
        for line in table.cells
        for cell in line
        if cell.row and cell.row.cell.get("defense") == "none"
    }
    found = {}
    for one in table.differences:
        for row_id, other in ((one.row_id, one.other_id), (one.other_id, one.row_id)):
            if other in bare:
                found[row_id] = one.p_corrected
    return found


def _p(cell: Cell, undefended: Mapping[str, float]) -> float | None:
    return undefended.get(cell.row.id) if cell.row and not cell.derived else None


def _record(table: Table, down: Heading, across: Heading, cell: Cell) -> dict[str, Any]:
    row, paper = cell.row, cell.paper
    place = {level.axis: level.choice for level in (*down, *across)}
    members = cell.members
    known = members[0].cell if members else place
    if cell.derived and members:  # a clean value, from rows of attacks
        known = {**known, **place}
    low, high = cell.interval or (None, None)
    return {
        "row": " | ".join(level.label for level in shown(down, table.row_axes)),
        "column": " | ".join(level.label for level in shown(across, table.column_axes)),
        **{axis: known.get(axis) for axis in CELL},
        "metric": cell.metric or table.metric,
        "status": cell.status,
        "value": cell.value,
        "low": low,
        "high": high,
        "sd": cell.sd,
        "seeds": len(members) or None,
        "by": cell.by or None,
        "n": cell.n,
        "seed": _common(str(one.seed) for one in members),
        "victim_seed": _common(axis_value(one, "victim_seed") for one in members),
        "defense_seed": _common(str(one.defense_variant.get("seed", "")) for one in members),
        "paper": paper.paper if paper else None,
        "paper_table": paper.table if paper else None,
        "paper_value": paper.value if paper else None,
        "difference": cell.difference,
        "paper_in_interval": cell.paper_in_interval,
        "paper_note": (paper.note or None) if paper else None,
        "flags": "; ".join(flag.text for flag in cell.flags) or None,
        "phantom": table.phantom,
        "row_id": " ".join(one.id for one in members) or None,
        "revision": " ".join(dict.fromkeys(one.revision for one in members)) or None,
        "error": reason(row.error) if row and row.error else None,
    }
