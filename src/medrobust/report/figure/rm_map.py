"""Maps of MedRDF's robust metric RM per pixel of a mask, clean and attacked."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medrobust.report.figure.core.base import Drawing, Figure, FigureError, Source, canvas, heading
from medrobust.report.figure.core.case import Recorded, bare, recorded, show_image
from medrobust.result.maps import Side

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_PANEL = 1.02  # inches
_TRUE = "#ffffff"
_SILENT = "#c83737"


@dataclass(frozen=True, kw_only=True)
class RMMap(Figure):
    """One drawing per attacked cell: a line per image, clean on the left and attacked on the right.

    Each side shows the image with the outline of its true mask, the predicted mask with abstained
    pixels in red, and RM from 0 (black, split vote) to K (white).

    Attributes:
        cases: largest number of recorded images to draw, in their order.
    """

    cases: int = 4

    def check(self) -> None:
        """Raise `FigureError` if `cases` is not positive."""
        if not isinstance(self.cases, int) or self.cases < 1:
            raise FigureError(f"cases={self.cases!r}, expected a number >= 1")

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing per attacked cell of a defense with a confidence per pixel."""
        cells = [c for c in recorded(source, ndim=3) if c.maps.clean.confidence_map.size]
        if not cells:
            raise FigureError("no recorded cell has an RM per pixel; set defense=medrdf_seg")
        return [self._one(cell, number, len(cells)) for number, cell in enumerate(cells)]

    def _one(self, cell: Recorded, number: int, total: int) -> Drawing:
        maps = cell.maps
        count, classes = min(self.cases, len(maps.ids)), len(maps.classes)
        made = canvas(6 * _PANEL + 0.6, count * (_PANEL + 0.1) + 0.9)
        heading(made, self.titled(cell.said), cell.row.phantom)
        grid = made.subplots(count, 6, squeeze=False)
        shown: Any = None
        for line in range(count):
            for first, side in ((0, maps.clean), (3, maps.adversarial)):
                picture, answer, metric = grid[line, first : first + 3]
                show_image(picture, side, line)
                _outline(picture, maps.labels[line])
                _answer(answer, side, line, classes)
                shown = metric.imshow(side.confidence_map[line], cmap="gray", vmin=0, vmax=classes)
                bare(metric)
                metric.set_xlabel(f"mean {side.confidence[line]:.2f}", fontsize=7.5)
        for first, word in ((0, "clean"), (3, "adversarial")):
            for place, part in enumerate((word, "answer", "RM")):
                grid[0, first + place].set_title(part, fontsize=8.5, pad=3)
        made.colorbar(shown, ax=grid[:, -1].tolist(), label="RM")
        name = self.name if total == 1 else f"{self.name}_{number}"
        caption = (
            f"Predictions and robust metric RM (0 to {classes}) per pixel: {cell.said}. White "
            "line: outline of the true mask; red: pixels that the defense abstains from."
        )
        return Drawing(name, caption, made)


def _outline(axes: "Axes", mask: "NDArray[Any]") -> None:
    """Draw the border of the foreground, if the picture has any."""
    inside = mask > 0
    if inside.any() and not inside.all():
        axes.contour(inside, levels=[0.5], colors=[_TRUE], linewidths=0.9)


def _answer(axes: "Axes", side: Side, number: int, classes: int) -> None:
    """Draw the predicted classes in grey, with abstained pixels on top."""
    import numpy as np
    from matplotlib.colors import to_rgb

    grey = side.defended_label[number] / max(1, classes - 1)
    picture = np.repeat(grey[..., None], 3, axis=2).astype(float)
    if side.abstain.ndim == 3:
        picture[side.abstain[number]] = to_rgb(_SILENT)
    axes.imshow(picture, vmin=0, vmax=1)
    bare(axes)


KIND = RMMap
