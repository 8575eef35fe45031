"""Paired tests between the defenses of a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medrobust.metric.paired import Paired, holm, paired
from medrobust.report.table.label import Level
from medrobust.report.table.scores import Scores
from medrobust.report.table.table import Cell, Difference, Heading, Table

_SEED = 0


@dataclass(frozen=True)
class _Place:
    """A cell and the words that name it."""

    cell: Cell
    line: str
    column: str


def differences(table: Table, scores: Scores) -> tuple[Difference, ...]:
    """Return a test of each two cells that differ in the defense alone, on the same images.

    P-values are corrected for the number of tests in the table by Holm's method. Images of one
    group, such as a patient, are exchanged together. Attacks stand for themselves here: a
    difference under a weak attack says nothing about a strong one.

    Args:
        table: the whole table.
        scores: reads the score of each image of a row.
    """
    found = [
        (one, other, result)
        for group in _groups(table)
        for one, other, result in _tested(group, scores)
    ]
    corrected = holm([result.p for *_, result in found])
    return tuple(
        Difference(
            column=one.column,
            line=one.line,
            other=other.line,
            row_id=one.cell.row.id if one.cell.row else "",
            other_id=other.cell.row.id if other.cell.row else "",
            difference=result.difference,
            only_first=result.first,
            only_second=result.second,
            test=result.test,
            p=result.p,
            p_corrected=p,
        )
        for (one, other, result), p in zip(found, corrected, strict=True)
    )


def _tested(group: Sequence[_Place], scores: Scores) -> Iterator[tuple[_Place, _Place, Paired]]:
    """Yield each two places of a group whose rows have scores of the same images."""
    known = [
        (place, row, scores.mean(row)) for place in group if (row := place.cell.row) is not None
    ]
    for number, (one, row, first) in enumerate(known):
        for other, against, second in known[number + 1 :]:
            if first is None or second is None or first[0] != second[0]:
                continue
            groups = scores.groups(row, against)
            yield one, other, paired(first[1], second[1], seed=_SEED, groups=groups)


def _groups(table: Table) -> Iterator[list[_Place]]:
    """Yield the done cells that agree in everything but the defense.

    Clean images are the same under every threat, and tested once.
    """
    found: dict[Heading, dict[Heading, _Place]] = {}
    for down, line in zip(table.row_headings, table.cells, strict=True):
        for across, cell in zip(table.column_headings, line, strict=True):
            if cell.row is None or cell.status != "done" or cell.derived:
                continue
            levels = (*down, *across)
            clean = cell.row.cell.get("attack") == "none"
            rest = tuple(
                level
                for level in levels
                if not (_of_defense(level) or (clean and level.axis in ("threat", "surrogate")))
            )
            own = tuple(level for level in levels if _of_defense(level))
            place = _Place(
                cell,
                " · ".join(dict.fromkeys(level.label for level in own)),
                " · ".join(level.label for level in rest if level.axis in _shown(table)),
            )
            found.setdefault(rest, {}).setdefault(own, place)
    yield from ([*group.values()] for group in found.values() if len(group) > 1)


def _of_defense(level: Level) -> bool:
    return level.axis.partition(".")[0] == "defense"


def _shown(table: Table) -> tuple[str, ...]:
    return (*table.row_axes, *table.column_axes)
