"""Cases with the robust metric RM of their predictions, clean and attacked (MedRDF, Figure 5)."""

from dataclasses import dataclass

from medrobust.report.figure.core.base import Drawing, Figure, FigureError, Source, canvas, heading
from medrobust.report.figure.core.case import RIGHT, WRONG, Recorded, answer, recorded, show_image
from medrobust.report.figure.core.style import COLUMN

_PANEL = 1.5  # inches


@dataclass(frozen=True, kw_only=True)
class RobustMetric(Figure):
    """One drawing per attacked cell: some images, clean above and attacked below, with their RM.

    The cases are spread evenly over the ranks of the clean images' RM, the largest first, which
    rules out hand-picked ones. An RM below the paper's threshold is red: a doctor should review it.

    Attributes:
        cases: largest number of images to draw.
    """

    cases: int = 4

    def check(self) -> None:
        """Raise `FigureError` if `cases` is not positive."""
        if not isinstance(self.cases, int) or self.cases < 1:
            raise FigureError(f"cases={self.cases!r}, expected a number >= 1")

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing per attacked cell of a defense with a confidence."""
        import numpy as np

        cells = [c for c in recorded(source) if not np.isnan(c.maps.clean.confidence).any()]
        if not cells:
            raise FigureError("no recorded cell's defense has a robust metric; set defense=medrdf")
        return [self._one(cell, number, len(cells)) for number, cell in enumerate(cells)]

    def _one(self, cell: Recorded, number: int, total: int) -> Drawing:
        import numpy as np

        from medrobust.metric.robust_metric import default_threshold

        maps = cell.maps
        count = min(self.cases, len(maps.ids))
        ranks = np.argsort(-maps.clean.confidence, kind="stable")
        chosen = ranks[np.linspace(0, len(ranks) - 1, count).round().astype(int)]
        limit = default_threshold(len(maps.classes))
        made = canvas(max(count * (_PANEL + 0.15) + 0.3, COLUMN), 2 * (_PANEL + 0.4) + 0.6)
        heading(made, self.titled(cell.said), cell.row.phantom)
        grid = made.subplots(2, count, squeeze=False)
        for column, place in enumerate(chosen.tolist()):
            grid[0, column].set_title(f"true: {maps.classes[maps.labels[place]]}", fontsize=8)
            for line, side in enumerate((maps.clean, maps.adversarial)):
                axes, value = grid[line, column], float(side.confidence[place])
                show_image(axes, side, place)
                abstains = " (abstains)" if side.abstain[place] else ""
                answer(axes, maps, int(side.defended_label[place]), place, more=abstains)
                axes.text(
                    *(0.03, 0.97),
                    f"RM {value:.2f}" + (" – low" if value < limit else ""),
                    transform=axes.transAxes,
                    ha="left",
                    va="top",
                    fontsize=8,
                    weight="bold",
                    color=WRONG if value < limit else RIGHT,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
                )
        for axes, word in zip(grid[:, 0], ("clean", "adversarial"), strict=True):
            axes.set_ylabel(word, fontsize=8.5)
        name = self.name if total == 1 else f"{self.name}_{number}"
        caption = (
            f"Predictions of the defended network and their robust metric (at most "
            f"{len(maps.classes)}): {cell.said}. Cases spread evenly over the clean RM ranks of "
            f"{len(maps.ids)} images. Wrong predictions are red and marked ✗; an RM below "
            f"{limit:g} is red and low."
        )
        return Drawing(name, caption, made)


KIND = RobustMetric
