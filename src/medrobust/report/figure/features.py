"""Feature maps of the bare and the defended network, clean and attacked (MedRDF, Figure 4)."""

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
from medrobust.report.figure.core.style import COLUMN

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

_PANEL = 0.95  # inches


@dataclass(frozen=True, kw_only=True)
class Features(TapFigure):
    """One drawing per attacked cell: for each case the image and the maps of h and g.

    The left column is the clean image, the right the adversarial one. A map is the mean over the
    layer's channels. The two maps of a network share one scale to show what the attack changes.
    """

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing per attacked cell with maps."""
        cells = recorded(source, [self.tap])
        return [self._one(cell, number, len(cells)) for number, cell in enumerate(cells)]

    def _one(self, cell: Recorded, number: int, total: int) -> Drawing:
        count = self.drawn(cell)
        made = canvas(max(count * (2 * _PANEL + 0.4), COLUMN), 3 * _PANEL + 1.3)
        heading(made, self.titled(cell.said), cell.row.phantom)
        parts = made.subfigures(1, count, squeeze=False)
        for place in range(count):
            self._case(parts[0, place], cell, place)
        name = self.name if total == 1 else f"{self.name}_{number}"
        caption = (
            f"Features at {self.tap}, mean over channels, of the bare network h and, as mean over "
            f"the copies, of the defended one, g: {cell.said}. The two maps of a "
            "network share one scale, from dark to bright. Wrong predictions are red and "
            "marked ✗."
        )
        return Drawing(name, caption, made)

    def _case(self, part: "SubFigure", cell: Recorded, number: int) -> None:
        maps = cell.maps
        part.suptitle(f"true: {maps.classes[maps.labels[number]]}", fontsize=8.5)
        grid = part.subplots(3, 2)
        sides = (maps.clean, maps.adversarial)
        scales = [
            span([found[self.tap][number] for found in networks])
            for networks in zip(*((s.victim, s.defended) for s in sides), strict=True)
        ]
        for column, (side, word) in enumerate(zip(sides, ("clean", "adversarial"), strict=True)):
            show_image(grid[0, column], side, number)
            grid[0, column].set_title(word, fontsize=8.5, pad=3)
            for line, (found, label, (low, high)) in enumerate(
                zip(
                    (side.victim, side.defended),
                    (side.victim_label, side.defended_label),
                    scales,
                    strict=True,
                ),
                start=1,
            ):
                axes = grid[line, column]
                axes.imshow(found[self.tap][number], cmap="viridis", vmin=low, vmax=high)
                bare(axes)
                answer(axes, maps, int(label[number]), number)
        for axes, word in zip(grid[:, 0], ("image", "h", "g"), strict=True):
            axes.set_ylabel(word, fontsize=8.5, rotation=0, ha="right", va="center")


KIND = Features
