"""Cells of detectors with the scores of their images, for figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from medrobust.report.figure.core.base import Source, several
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

    @property
    def attack(self) -> str:
        """Return the attack, with the threat unless it is oblivious."""
        words = (self.row.cell.get(axis, "") for axis in ("attack", "threat"))
        return ", ".join(word for word in words if word not in ("", "oblivious"))


@dataclass(frozen=True)
class Group:
    """Cells of one drawing.

    Attributes:
        apart: names that distinguish it from the other groups; empty for a single group.
        panels: detector -> its attacked cells.
    """

    apart: str
    panels: dict[str, list[Scored]]

    @property
    def phantom(self) -> bool:
        """Return whether any cell is of generated images."""
        return any(cell.row.phantom for cells in self.panels.values() for cell in cells)


def groups(source: Source, attack: Sequence[str], defense: Sequence[str]) -> list[Group]:
    """Return the scored cells grouped by data set, victim and seed, then by detector.

    Args:
        source: rows and files of the sweep.
        attack: choices of `attack`; empty for all that change an image.
        defense: choices of `defense`; empty for all detectors.

    Raises:
        FigureError: there is no scored cell.
    """
    found: dict[tuple[str, ...], dict[str, list[Scored]]] = {}
    for row in source.rows:
        if (attack and row.cell.get("attack") not in several("attack", attack)) or (
            defense and row.cell.get("defense") not in several("defense", defense)
        ):
            continue
        scores = source.read(row, "scores.npz", Scores.read)
        if scores is None or not scores.changed:
            continue
        key = (*(row.cell.get(axis, "") for axis in APART), str(row.seed))
        found.setdefault(key, {}).setdefault(row.cell.get("defense", ""), []).append(
            Scored(row, scores)
        )
    if not found:
        raise source.lacks(
            "no attacked cell has a detector's scores: set defense to a detector, and run cells "
            "that were finished without scores again with rerun=true"
        )
    differs = [at for at in range(len(APART) + 1) if len({key[at] for key in found}) > 1]
    return [
        Group(", ".join(filter(None, (key[at] for at in differs))), panels)
        for key, panels in found.items()
    ]
