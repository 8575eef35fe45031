"""The best value of each column, which renderers print bold."""

from collections.abc import Sequence

from medrobust.report.render.text import number
from medrobust.report.table.clean import PREFIX
from medrobust.report.table.config import SEEDS
from medrobust.report.table.label import flatten
from medrobust.report.table.layout import OTHER
from medrobust.report.table.table import Cell, Heading, Table
from medrobust.report.table.worst import SUFFIX

_GIVEN = (*SEEDS, "data", "threat", "surrogate", OTHER)
"""Axes on which nothing is chosen: a best value across them says nothing about a defense."""

_DEFENSE_SEEDS = ("seed", "denoiser.seed")


def best(table: Table) -> set[tuple[int, int]]:
    """Return the places (row, column) of the best value of each column and group of lines.

    Lines are compared where they agree on every axis but the innermost one that is no data set,
    threat or seed; settings of a defense count as one axis with it. Values of different seeds of a
    trained defense are not compared, and neither are lines whose values are all equal.
    """
    if table.best == "none" or len(table.cells) < 2:
        return set()
    pick = max if table.best == "high" else min
    places = set()
    for group in _groups(table):
        for across in range(len(table.column_headings)):
            texts = {
                down: number(table, cell.value, unit=cell.unit)
                for down in group
                if (cell := table.cells[down][across]).value is not None and _compared(table, cell)
            }
            if len(set(texts.values())) > 1:
                top = pick(texts.values(), key=lambda text: float(text.replace("−", "-")))
                places |= {(down, across) for down, text in texts.items() if text == top}
    return places


def _compared(table: Table, cell: Cell) -> bool:
    own = table.metric
    return cell.metric in (own, f"{PREFIX}{own}", f"{own}_mean", f"{own}{SUFFIX}")


def _groups(table: Table) -> list[list[int]]:
    """Return the lines that are compared with each other."""
    axes = [axis for axis in table.row_axes if axis not in (*_GIVEN, *table.apart)]
    if not axes:
        return []
    chosen = {axes[-1]}
    if _of_defense(axes[-1]):
        chosen = {axis for axis in axes if _of_defense(axis)}
    groups: dict[Heading, list[int]] = {}
    for down, heading in enumerate(table.row_headings):
        rest = tuple(
            level for level in heading if level.axis in table.row_axes and level.axis not in chosen
        )
        groups.setdefault(rest, []).append(down)
    return [
        group
        for group in groups.values()
        if len({seeds for down in group if (seeds := _seeds(table.cells[down]))}) < 2
    ]


def _of_defense(axis: str) -> bool:
    return axis.partition(".")[0] == "defense"


def _seeds(cells: Sequence[Cell]) -> frozenset[object]:
    """Return the training seeds of the defense of a line."""
    settings = [flatten(row.defense_variant) for cell in cells for row in cell.members]
    return frozenset(own[key] for own in settings for key in _DEFENSE_SEEDS if key in own)
