"""Recorded images of a cell and their maps, for figures."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medrobust.report.figure.core.base import Figure, FigureError, Source
from medrobust.report.figure.core.style import SMALL, WARNING
from medrobust.result.maps import Maps, Side
from medrobust.result.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WRONG, RIGHT = WARNING, "black"
_LINE = 16  # characters that fit below the smallest panels


@dataclass(frozen=True)
class Recorded:
    """An attacked cell and its maps.

    Attributes:
        row: row of the cell.
        maps: recorded maps of some of its images.
    """

    row: Row
    maps: Maps

    @property
    def said(self) -> str:
        """Return the names that identify this cell."""
        cell = self.row.cell
        words = [cell.get(axis, "") for axis in ("data", "model", "attack", "defense", "threat")]
        return " · ".join(word for word in words if word not in ("", "oblivious"))


@dataclass(frozen=True, kw_only=True)
class TapFigure(Figure):
    """Base class of figures of one recorded layer.

    Attributes:
        tap: name of the layer, such as `attention4.map` or `layer1.1`.
        cases: largest number of cases to draw; None for all recorded ones.
    """

    tap: str
    cases: int | None = None

    def check(self) -> None:
        """Raise `FigureError` if `cases` is not positive."""
        if self.cases is not None and (not isinstance(self.cases, int) or self.cases < 1):
            raise FigureError(f"cases={self.cases!r}, expected a number >= 1, or null for all")

    def drawn(self, cell: "Recorded") -> int:
        """Return the number of cases of a cell to draw."""
        return min(self.cases or len(cell.maps.ids), len(cell.maps.ids))


def recorded(source: Source, taps: Sequence[str] = (), *, ndim: int = 1) -> list[Recorded]:
    """Return the attacked cells of a sweep that have maps.

    Args:
        source: rows and files of the sweep.
        taps: layers that must have been recorded.
        ndim: dimensions of the labels: 1 for classifiers, 3 for segmenters.

    Raises:
        FigureError: there is no such cell, or a layer is missing.
    """
    found = []
    for row in source.rows:
        maps = source.read(row, "maps.npz", Maps.read)
        if maps is None or row.cell.get("attack") == "none" or maps.labels.ndim != ndim:
            continue
        lacking = [tap for tap in taps if tap not in maps.taps]
        if lacking:
            raise FigureError(
                f"{row.id[:12]} has maps of {list(maps.taps)}, not of {lacking}: name them in "
                "maps.taps and run the sweep again"
            )
        found.append(Recorded(row, maps))
    if not found:
        asked = ", ".join(taps)
        raise source.lacks(
            "no attacked cell has recorded images: run the sweep with "
            f"'maps={{taps: [{asked}], images: 4}}'"
        )
    return found


def show_image(axes: "Axes", side: Side, number: int) -> None:
    """Draw an image without ticks."""
    picture = side.images[number]
    grey = picture.shape[2] == 1
    options: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if grey else {}
    axes.imshow(picture[..., 0] if grey else picture, **options)
    bare(axes)


def bare(axes: "Axes") -> None:
    """Remove ticks and frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def answer(axes: "Axes", maps: Maps, label: int, number: int, *, more: str = "") -> None:
    """Write the predicted class below a picture; a wrong one is red and marked ✗."""
    right = label == maps.labels[number]
    said = f"{'' if right else '✗ '}{maps.classes[label]}{more}"
    lines = textwrap.wrap(said, _LINE, max_lines=3, placeholder=" …")
    axes.set_xlabel("\n".join(lines), fontsize=SMALL, color=RIGHT if right else WRONG)


def span(arrays: Sequence[Any]) -> tuple[float, float]:
    """Return the common range of some maps; it is never empty."""
    low = min(float(array.min()) for array in arrays)
    high = max(float(array.max()) for array in arrays)
    return low, high if high > low else low + 1.0
