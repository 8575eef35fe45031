"""Histograms of a detector's scores: clean images against the images of each attack."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust.report.figure.core.base import (
    Drawing,
    Figure,
    FigureError,
    Source,
    canvas,
    heading,
    several,
)
from medrobust.report.figure.core.scored import Group, Scored, groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE, _HIGH = 2.9, 1.7
_CLEAN, _STOPPED, _THROUGH = "#4878a8", "#b8b8b8", "#a40000"


@dataclass(frozen=True, kw_only=True)
class ScoreHistograms(Figure):
    """One drawing per data set, victim, seed; a line of panels per attack, a column per detector.

    Attributes:
        attack: choices of `attack`; empty for all.
        defense: choices of `defense`; empty for all detectors.
        bins: number of bars over the range of a panel.
    """

    attack: tuple[str, ...] = ()
    defense: tuple[str, ...] = ()
    bins: int = 30

    def check(self) -> None:
        """Raise `FigureError` if a list of choices is invalid or `bins` is not positive."""
        several("attack", self.attack)
        several("defense", self.defense)
        if self.bins < 1:
            raise FigureError(f"bins={self.bins!r}, expected a number >= 1")

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing per group."""
        return [self._one(group) for group in groups(source, self.attack, self.defense)]

    def _one(self, group: Group) -> Drawing:
        names = list(dict.fromkeys(c.attack for cells in group.panels.values() for c in cells))
        across, down = len(group.panels), len(names)
        made = canvas(max(across * _WIDE + 0.6, 5.0), down * _HIGH + 1.0)
        grid = made.subplots(down, across, squeeze=False)
        for column, (defense, cells) in enumerate(group.panels.items()):
            known = {cell.attack: cell for cell in cells}
            for line, attack in enumerate(names):
                axes = grid[line, column]
                axes.tick_params(labelsize=7)
                axes.set_yticks([])
                if attack in known:
                    self._panel(axes, known[attack])
                else:
                    axes.set_axis_off()
                if not line:
                    axes.set_title(defense, fontsize=9)
                if not column:
                    axes.set_ylabel(attack, fontsize=8)
        # Empty bars: the legend must not depend on the colours of the first panel.
        from matplotlib.patches import Patch

        words = ("clean", "attacked, still right", "attacked, fooled")
        colours = (_CLEAN, _STOPPED, _THROUGH)
        made.legend(
            handles=[Patch(color=c, label=w) for c, w in zip(colours, words, strict=True)],
            loc="outside lower center",
            ncols=3,
            fontsize=8,
        )
        heading(made, self.titled(group.apart), group.phantom)
        caption = (
            "Scores of detectors, higher = more adversarial, as shares of the clean and of the "
            "attacked images; images that the attack fools are red. The line is the deployed "
            "threshold: images to its right are rejected, red ones to its left are undetected."
        )
        name = "_".join(filter(None, (self.name, group.apart.replace(", ", "_"))))
        return Drawing(name.replace("/", "_"), caption, made)

    def _panel(self, axes: "Axes", cell: Scored) -> None:
        import numpy as np

        scores = cell.scores
        sets = (
            scores.clean,
            scores.adversarial[~scores.fooled],
            scores.adversarial[scores.fooled],
        )
        low, high = spread([*sets, np.array([scores.threshold])])
        count = len(scores.clean)
        for part, colour in zip(sets, (_CLEAN, _STOPPED, _THROUGH), strict=True):
            axes.hist(
                np.clip(part, low, high),
                bins=np.linspace(low, high, self.bins + 1).tolist(),
                weights=np.full(len(part), 1 / count),
                color=colour,
                alpha=0.6,
            )
        axes.axvline(scores.threshold, color="black", lw=1)


def spread(parts: Sequence[object]) -> tuple[float, float]:
    """Return a range that shows nearly all scores; the extreme 1 % are clipped to its ends."""
    import numpy as np

    every = np.concatenate([np.asarray(part, dtype=float) for part in parts])
    every = every[np.isfinite(every)]
    low, high = np.quantile(every, [0.005, 0.995])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


KIND = ScoreHistograms
