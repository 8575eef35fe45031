"""Images of a cell with what was recorded of them, as figures show them."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medrobust.report.figure.core.base import Figure, FigureError, Source
from medrobust.result.maps import Maps, Side
from medrobust.result.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WRONG, RIGHT = "#a40000", "black"


@dataclass(frozen=True)
class Recorded:
    """An attacked cell and its maps.

    Attributes:
        row: the cell.
        maps: what was recorded of some of its images.
    """

    row: Row
    maps: Maps

    @property
    def said(self) -> str:
        """What tells this cell from others, in words."""
        cell = self.row.cell
        words = [cell.get(axis, "") for axis in ("data", "model", "attack", "defense", "threat")]
        return " · ".join(word for word in words if word not in ("", "oblivious"))


@dataclass(frozen=True, kw_only=True)
class TapFigure(Figure):
    """A figure of what was recorded of one layer.

    Attributes:
        tap: the layer, such as `attention4.map` or `layer1.1`.
        cases: most cases drawn; none = all that were recorded.
    """

    tap: str
    cases: int | None = None

    def check(self) -> None:
        """Raise `FigureError` when `cases` is no positive number."""
        if self.cases is not None and (not isinstance(self.cases, int) or self.cases < 1):
            raise FigureError(f"cases={self.cases!r}, expected a number >= 1, or null for all")

    def drawn(self, cell: "Recorded") -> int:
        """How many cases of a cell are drawn."""
        return min(self.cases or len(cell.maps.ids), len(cell.maps.ids))


def recorded(source: Source, taps: Sequence[str] = (), *, ndim: int = 1) -> list[Recorded]:
    """The attacked cells of a sweep that have maps.

    Args:
        source: the sweep.
        taps: layers that must have been recorded.
        ndim: of the labels: 1 for cells of classifiers, 3 for cells of segmenters.

    Raises:
        FigureError: there is none, or a layer is missing.
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
    """Take ticks and frame away."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def answer(axes: "Axes", maps: Maps, label: int, number: int, *, more: str = "") -> None:
    """Write a predicted class below a picture; a wrong one is red, and marked for who sees none."""
    right = label == maps.labels[number]
    name = textwrap.shorten(maps.classes[label], 30, placeholder=" …")
    axes.set_xlabel(
        f"{'' if right else '✗ '}{name}{more}", fontsize=7.5, color=RIGHT if right else WRONG
    )


def span(arrays: Sequence[Any]) -> tuple[float, float]:
    """The common range of some maps; never empty."""
    low = min(float(array.min()) for array in arrays)
    high = max(float(array.max()) for array in arrays)
    return low, high if high > low else low + 1.0
