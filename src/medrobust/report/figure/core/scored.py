"""Cells of detectors with the scores of their images, for figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from medrobust.report.figure.core.base import Source, several
from medrobust.report.figure.core.series import Runs, apart, put, seeds_of
from medrobust.report.table.config import OVER, SEEDS
from medrobust.report.table.label import axis_value, choice_levels
from medrobust.result.row import CELL, Row
from medrobust.result.scores import Scores

APART = tuple(axis for axis in CELL if axis not in ("attack", "threat", "surrogate", "defense"))


@dataclass(frozen=True)
class Scored:
    """An attacked cell of a detector and its scores.

    Attributes:
        row: row of the cell.
        scores: scores of its images.
    """

    row: Row
    scores: Scores


@dataclass(frozen=True)
class Group:
    """Cells of one drawing.

    Attributes:
        apart: names that distinguish it from the other groups; empty for a single group.
        panels: detector -> attack -> its cell, or one for each seed.
    """

    apart: str
    panels: dict[str, dict[str, list[Scored]]]

    @property
    def attacks(self) -> list[str]:
        """Return the names of the attacks."""
        return list(dict.fromkeys(name for lines in self.panels.values() for name in lines))

    @property
    def phantom(self) -> bool:
        """Return whether any cell is of generated images."""
        lines = (cells for lines in self.panels.values() for cells in lines.values())
        return any(cell.row.phantom for cells in lines for cell in cells)


def groups(
    source: Source, attack: Sequence[str], defense: Sequence[str], over: Sequence[str] = ()
) -> list[Group]:
    """Return the scored cells grouped by data set, victim and seeds, then by detector and attack.

    Args:
        source: rows and files of the sweep.
        attack: choices of `attack`; empty for all that change an image.
        defense: choices of `defense`; empty for all detectors.
        over: seeds from `OVER` in which the cells of an attack may differ.

    Raises:
        FigureError: there is no scored cell, or two are of one detector, attack and seed.
    """
    found: dict[tuple[str, ...], list[Scored]] = {}
    axes = (*APART, *(seed for seed in SEEDS if seed not in over))
    for row in source.rows:
        if (attack and row.cell.get("attack") not in several("attack", attack)) or (
            defense and row.cell.get("defense") not in several("defense", defense)
        ):
            continue
        scores = source.read(row, "scores.npz", Scores.read)
        if scores is None or not scores.changed:
            continue
        key = tuple(axis_value(row, axis) for axis in axes)
        found.setdefault(key, []).append(Scored(row, scores))
    if not found:
        raise source.lacks(
            "no attacked cell has a detector's scores: set defense to a detector, and run cells "
            "that were finished without scores again with rerun=true"
        )
    return [Group(apart(axes, key, found), _panels(cells, over)) for key, cells in found.items()]


def _panels(cells: Sequence[Scored], over: Sequence[str]) -> dict[str, dict[str, list[Scored]]]:
    rows = [cell.row for cell in cells]
    merged = [key for name in over for key in OVER[name]]
    detectors, attacks = (choice_levels(rows, axis, merged) for axis in ("defense", "attack"))
    runs: dict[str, Runs] = {}
    for row, detector, attack in zip(rows, detectors, attacks, strict=True):
        threat = row.cell.get("threat", "")
        name = attack.label if threat in ("", "oblivious") else f"{attack.label}, {threat}"
        put(runs.setdefault(detector.label, {}), name, seeds_of(row, over), row, detector.label)
    known = {cell.row.id: cell for cell in cells}
    return {
        detector: {name: [known[row.id] for row in seeds.values()] for name, seeds in lines.items()}
        for detector, lines in runs.items()
    }
