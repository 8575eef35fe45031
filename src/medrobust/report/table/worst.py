"""Columns of the worst case per image over the attacks of a line."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medrobust.metric.worst import Worst, worst_case
from medrobust.report.table.compare import bounded, budget, name_of
from medrobust.report.table.config import TableConfig
from medrobust.report.table.label import flatten
from medrobust.report.table.rival import aims_to_fool
from medrobust.report.table.scores import COLUMNS, Scores
from medrobust.report.table.seeds import mean_sd
from medrobust.report.table.table import Cell, Heading
from medrobust.result.row import Row

WORST, ANY = "worst", "worst of any threat"
"""Headings of the two columns."""

SUFFIX = "_worst"
"""End of the metric's name in these columns."""


class WorstCase:
    """Computes the cells of both columns.

    Args:
        config: config of the table.
        scores: reads the scores of a row's images.
    """

    def __init__(self, config: TableConfig, scores: Scores) -> None:
        self.config, self.scores = config, scores

    @property
    def wanted(self) -> bool:
        """Return whether the table's metric has a worst case, and attacks stand side by side."""
        config = self.config
        side_by_side = config.columns[-1:] == ("attack",) and not config.metrics
        return config.worst and side_by_side and config.metric in COLUMNS

    def cell(self, cells: Iterable[Cell]) -> Cell:
        """Return the worst case over some cells.

        It has a value only if they are attacks of one norm and radius on the same images, all done
        and recorded. Clean images, attacks without a budget and those that do not aim at wrong
        answers are left out. Over seeds it is the mean of each seed's.
        """
        name = f"{self.config.metric}{SUFFIX}"
        attacks = _attacks(cells)
        if not attacks or any(row.status != "done" for row in attacks):
            return Cell(metric=name, derived=True)
        if len({budget(row) for row in attacks}) > 1:
            return Cell(metric=name, derived=True, unmeasured=True)
        found = [self.scores.draws(row) for row in attacks]
        known = [one for one in found if one is not None]
        if len(known) < len(found) or len({(ids, scores.shape) for ids, scores in known}) > 1:
            return Cell(metric=name, derived=True, unmeasured=True)
        parts: dict[tuple[object, ...], list[tuple[Row, NDArray[np.float64]]]] = {}
        for row, (_, scores) in zip(attacks, known, strict=True):
            config = flatten(row.config)
            seeds = tuple(config.get(key) for key in self.config.over_keys)
            parts.setdefault(seeds, []).append((row, scores))
        if len({len(part) for part in parts.values()}) > 1:  # some seeds lack an attack
            return Cell(metric=name, derived=True)
        groups = self.scores.groups(*attacks)
        several = [_worst(part, groups) for part in parts.values()]
        value, sd = mean_sd([one.value for one in several])
        (low, high), alone = several[0].interval, len(several) == 1
        return Cell(
            value=value,
            interval=(low, high) if alone else None,
            sd=sd,
            metric=name,
            unit=self.config.unit_of(self.config.metric),
            derived=True,
            by="; ".join(
                ", ".join(f"{label} {count}" for label, count in one.by.items()) for one in several
            ),
        )


def worst_columns(
    worst: WorstCase,
    down: Sequence[Heading],
    members: Sequence[Heading],
    made: Mapping[tuple[Heading, Heading], Cell],
) -> dict[str, list[Cell]]:
    """Return the columns by heading, a cell for each line.

    A column is left out where no line has a value, and `worst` where no line has several attacks.

    Args:
        worst: computes a cell.
        down: headings of the lines.
        members: headings of the attacks' columns.
        made: (line, column) -> cell.
    """
    if not worst.wanted:
        return {}
    own = [[made[line, top] for top in members if (line, top) in made] for line in down]
    together: dict[Heading, list[Cell]] = {}
    for line, cells in zip(down, own, strict=True):
        together.setdefault(_without_threat(line), []).extend(cells)
    columns = {}
    if any(len(_attacks(cells)) > 1 for cells in own):
        columns[WORST] = [worst.cell(cells) for cells in own]
    if len(together) < len(down):  # some lines differ in the threat alone
        columns[ANY] = [worst.cell(together[_without_threat(line)]) for line in down]
    return {k: cells for k, cells in columns.items() if any(one.value is not None for one in cells)}


def _worst(
    part: Sequence[tuple[Row, NDArray[np.float64]]], groups: NDArray[np.int64] | None
) -> Worst:
    """Return the worst case over the attacks of one seed."""
    rows, scores = zip(*part, strict=True)
    named = dict(zip(_labels(rows), scores, strict=True))
    return worst_case(named, seed=rows[0].seed, groups=groups)


def _attacks(cells: Iterable[Cell]) -> list[Row]:
    """Return the rows of attacks with a budget, each once."""
    rows = {row.id: row for cell in cells for row in cell.members}
    return [row for row in rows.values() if aims_to_fool(row) and bounded(row)]


def _without_threat(line: Heading) -> Heading:
    return tuple(level for level in line if level.axis not in ("threat", "surrogate"))


def _labels(rows: Sequence[Row]) -> list[str]:
    """Return the attacks' names, with threat or number where the name alone is not unique."""
    names = [row.cell.get("attack", "") for row in rows]
    if len({row.cell.get("threat", "") for row in rows}) > 1:
        names = [name_of(row) for row in rows]
    seen: dict[str, int] = {}
    labels = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        labels.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return labels
