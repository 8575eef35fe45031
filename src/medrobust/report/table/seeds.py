"""Cells that are means over seeds."""

import math
from collections.abc import Sequence
from dataclasses import replace

from medrobust.report.table.table import Cell


def over_seeds(cells: Sequence[Cell]) -> Cell:
    """Return the mean of cells that differ in their seeds alone.

    A failed cell stands for all, and so does one without a value: a mean of the others would hide
    it. The standard deviation has one degree of freedom less than there are cells, and a single
    cell has none. Flags are those of all.

    Args:
        cells: one or more, of rows.
    """
    for cell in cells:
        if cell.status != "done" or cell.value is None:
            return cell
    values = [cell.value for cell in cells if cell.value is not None]
    mean, sd = mean_sd(values)
    return replace(
        cells[0],
        row=None,
        rows=tuple(cell.row for cell in cells if cell.row),
        value=mean,
        sd=sd,
        interval=None,
        flags=tuple(dict.fromkeys(flag for cell in cells for flag in cell.flags)),
    )


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Return mean and standard deviation (N - 1) of one or more values; None of a single one."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
