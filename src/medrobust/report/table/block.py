"""Blocks of a table, one per threat: the paper's protocol and adaptive attackers."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from medrobust.report.table.label import Level
from medrobust.report.table.setting import ABSENT
from medrobust.report.table.table import Cell, Table

THREATS = {
    "oblivious": "Oblivious: the attacker knows the classifier, not the defense",
    "transfer": "Transfer: the attack is made on another classifier",
    "adaptive": "Adaptive: the attacker knows classifier and defense",
    "adaptive/bpda": "BPDA: adaptive, with the identity for gradients that are approximated",
    "blackbox": "Black box: the attacker queries the defended classifier, without gradients",
}

OWN = "attacks on these defenses alone"
"""End of the heading of a block of attacks that do not meet the other defenses."""


def blocks(table: Table) -> list[Table]:
    """Split a table into one block per threat, or return it whole if threats share lines.

    Attacks of a threat that only `own_attacks` meet have a block of their own, before that of the
    attacks that all of its defenses meet. A block has only the columns with a value in it; the
    first block keeps all derived columns. Flags, their numbers and notes are those of the whole
    table.

    Args:
        table: the whole table.
    """
    if "threat" not in table.row_axes[:-1]:  # innermost threats are compared line by line
        return [table]
    axes = [level.axis for level in table.row_headings[0]]
    at = axes.index("threat")
    groups: dict[Level, list[int]] = {}
    for line, heading in enumerate(table.row_headings):
        groups.setdefault(heading[at], []).append(line)
    inside = [axis for axis in table.row_axes if axis != "threat"]
    # An axis that differs only between blocks (the surrogate) goes into the headings.
    varying = [axis for axis in inside if _varies(table, axes.index(axis), groups.values())]
    kept = tuple(varying or inside[-1:])
    made: list[Table] = []
    for threat, lines in groups.items():
        columns = [
            column
            for column in range(len(table.column_headings))
            if any(_there(table.cells[line][column], first=not made) for line in lines)
        ]
        first = table.row_headings[lines[0]]
        said = [
            f"{level.axis} {level.label}"
            for level in first
            if level.axis in inside and level.axis not in kept and level.label != ABSENT
        ]
        title = " · ".join([THREATS.get(threat.choice, threat.label), *said])
        few = [line for line in lines if _defense(table, line) in table.own_attacks]
        rest = _present(table, set(lines) - set(few))
        own = [column for column in columns if column in _present(table, few) - rest]
        if own and rest:
            made.append(_part(table, few, own, f"{title} · {OWN}", kept))
            columns = [column for column in columns if column not in own]
        made.append(_part(table, lines, columns, title, kept))
    return made


def _part(
    table: Table, lines: Sequence[int], columns: Sequence[int], heading: str, axes: tuple[str, ...]
) -> Table:
    """Return a block of some lines and columns."""
    return replace(
        table,
        heading=heading,
        row_headings=tuple(table.row_headings[line] for line in lines),
        column_headings=tuple(table.column_headings[column] for column in columns),
        row_axes=axes,
        cells=tuple(tuple(table.cells[line][column] for column in columns) for line in lines),
    )


def _defense(table: Table, line: int) -> str:
    """Return the defense of a line's cells; empty if it has none."""
    rows = (row for cell in table.cells[line] for row in cell.members)
    return next((row.cell.get("defense", "") for row in rows), "")


def _present(table: Table, lines: Iterable[int]) -> set[int]:
    """Return the columns in which some of the lines have a cell of their own."""
    return {
        column
        for line in lines
        for column, cell in enumerate(table.cells[line])
        if cell.status != "missing" and not cell.derived
    }


def _varies(table: Table, at: int, groups: Iterable[Sequence[int]]) -> bool:
    return any(len({table.row_headings[line][at] for line in group}) > 1 for group in groups)


def _there(cell: Cell, *, first: bool) -> bool:
    return cell.status != "missing" or (cell.derived and first)
