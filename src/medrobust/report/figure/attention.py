"""Attention maps of the bare and the defended network, clean and attacked (MedRDF, Figure 3)."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust.report.figure.core.base import Drawing, Source, canvas, heading
from medrobust.report.figure.core.case import (
    Recorded,
    TapFigure,
    answer,
    bare,
    recorded,
    show_image,
    span,
)

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

_PANEL, _ACROSS = 1.0, 2  # inches; cases side by side


@dataclass(frozen=True, kw_only=True)
class Attention(TapFigure):
    """One drawing per attacked cell: for each case the image, the map of h and the map of g.

    The upper line is the clean image, the lower the adversarial one. The four maps of a case
    share one scale.
    """

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing per attacked cell with maps."""
        cells = recorded(source, [self.tap])
        return [self._one(cell, number, len(cells)) for number, cell in enumerate(cells)]

    def _one(self, cell: Recorded, number: int, total: int) -> Drawing:
        count = self.drawn(cell)
        across = min(_ACROSS, count)
        down = math.ceil(count / across)
        made = canvas(across * (3 * _PANEL + 0.45), down * (2 * _PANEL + 0.8) + 0.4)
        heading(made, self.titled(cell.said), cell.row.phantom)
        parts = made.subfigures(down, across, squeeze=False)
        for place in range(count):
            self._case(parts[place // across, place % across], cell, place)
        name = self.name if total == 1 else f"{self.name}_{number}"
        caption = (
            f"{self.tap} of the bare network h and the mean over the copies of the defended one, "
            f"g: {cell.said}. The four maps of a case share one scale, from dark to bright. Wrong "
            "predictions are red and marked ✗."
        )
        return Drawing(name, caption, made)

    def _case(self, part: "SubFigure", cell: Recorded, number: int) -> None:
        maps = cell.maps
        part.suptitle(f"true: {maps.classes[maps.labels[number]]}", fontsize=8.5)
        grid = part.subplots(2, 3)
        sides = (maps.clean, maps.adversarial)
        every = [m[self.tap][number] for side in sides for m in (side.victim, side.defended)]
        low, high = span(every)
        for line, side, word in zip(grid, sides, ("clean", "adversarial"), strict=True):
            show_image(line[0], side, number)
            line[0].set_ylabel(word, fontsize=8)
            for axes, found, label in (
                (line[1], side.victim, side.victim_label),
                (line[2], side.defended, side.defended_label),
            ):
                show_image(axes, side, number)
                height, width = side.images[number].shape[:2]
                axes.imshow(
                    found[self.tap][number],
                    cmap="inferno",
                    alpha=0.6,
                    vmin=low,
                    vmax=high,
                    interpolation="bilinear",
                    extent=(-0.5, width - 0.5, height - 0.5, -0.5),
                )
                bare(axes)
                answer(axes, maps, int(label[number]), number)
        for axes, word in zip(grid[0], ("image", "h", "g"), strict=True):
            axes.set_title(word, fontsize=8.5, pad=3)


KIND = Attention
