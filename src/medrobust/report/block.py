"""A table in blocks, one per threat: what a paper measured, and what a knowing attacker leaves."""

from dataclasses import replace

from medrobust.report.table import Cell, Table

THREATS = {
    "oblivious": "Oblivious: the attacker knows the classifier, not the defense",
    "transfer": "Transfer: the attack is made on another classifier",
    "adaptive": "Adaptive: the attacker knows classifier and defense",
    "blackbox": "Black box: the attacker asks the defended classifier, without gradients",
}


def blocks(table: Table) -> list[Table]:
    """The table in one piece; or in several, where threats vary and have lines of their own.

    A block has the columns that hold anything there, the first the derived ones all the same.
    Flags, their numbers and notes are those of the whole table.

    Args:
        table: whole.
    """
    if "threat" not in table.row_axes[:-1]:  # innermost, they stand side by side to be compared
        return [table]
    at = next(n for n, level in enumerate(table.row_headings[0]) if level.axis == "threat")
    made = []
    for threat in dict.fromkeys(heading[at] for heading in table.row_headings):
        lines = [n for n, heading in enumerate(table.row_headings) if heading[at] == threat]
        columns = [
            column
            for column in range(len(table.column_headings))
            if any(_there(table.cells[line][column], first=not made) for line in lines)
        ]
        made.append(
            replace(
                table,
                heading=THREATS.get(threat.choice, threat.label),
                row_headings=tuple(table.row_headings[line] for line in lines),
                column_headings=tuple(table.column_headings[column] for column in columns),
                row_axes=tuple(axis for axis in table.row_axes if axis != "threat"),
                cells=tuple(
                    tuple(table.cells[line][column] for column in columns) for line in lines
                ),
            )
        )
    return made


def _there(cell: Cell, *, first: bool) -> bool:
    return cell.status != "missing" or (cell.derived and first)
