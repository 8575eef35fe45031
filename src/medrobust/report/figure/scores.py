"""Histograms of a detector's scores: clean images against the images of each attack."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from medrobust.report.figure.core.style import COLUMN, NEUTRAL, PAGE, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE, _HIGH = 1.72, 1.35  # inches
_LOOKS: tuple[dict[str, Any], ...] = (
    {"label": "clean", "facecolor": (PALETTE[0], 0.55), "edgecolor": PALETTE[0]},
    {"label": "attacked, still right", "facecolor": (NEUTRAL, 0.6), "edgecolor": "0.35"},
    {
        "label": "attacked, fooled",
        "facecolor": (PALETTE[1], 0.25),
        "edgecolor": PALETTE[1],
        "hatch": "/////",
    },
)


@dataclass(frozen=True, kw_only=True)
class ScoreHistograms(Figure):
    """One drawing per data set, victim, seed; a line of panels per attack, a column per detector.

    Seeds are never pooled, as each has a threshold of its own.

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
        names = group.attacks
        across, down = len(group.panels), len(names)
        made = canvas(_width(across), down * _HIGH + 0.8)
        grid = made.subplots(down, across, squeeze=False)
        for column, (defense, lines) in enumerate(group.panels.items()):
            for line, attack in enumerate(names):
                axes = grid[line, column]
                if attack in lines:
                    (cell,) = lines[attack]
                    self._panel(axes, cell)
                else:
                    axes.set_axis_off()
                if not line:
                    axes.set_title(defense)
                if line == down - 1:
                    axes.set_xlabel("score")
                if not column:
                    axes.set_ylabel("\n".join([*textwrap.wrap(attack, 18), "images (%)"]))
        # Empty bars: the legend must not depend on the first panel.
        from matplotlib.patches import Patch

        made.legend(
            handles=[Patch(**looks) for looks in _LOOKS],
            loc="outside lower center",
            ncols=3,
            handlelength=1.5,
        )
        heading(made, self.titled(group.apart), group.phantom)
        caption = (
            "Scores of detectors, higher = more adversarial, as shares of the clean and of the "
            "attacked images; those that the attack fools are hatched. The line is the deployed "
            "threshold: images to its right are rejected, hatched ones to its left are undetected."
        )
        name = "_".join(filter(None, (self.name, group.apart.replace(", ", "_"))))
        return Drawing(name.replace("/", "_").replace(" ", "_"), caption, made)

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
        for part, looks in zip(sets, _LOOKS, strict=True):
            axes.hist(
                np.clip(part, low, high),
                bins=np.linspace(low, high, self.bins + 1).tolist(),
                weights=np.full(len(part), 100 / count),
                histtype="stepfilled",
                linewidth=0.6,
                **looks,
            )
        axes.axvline(scores.threshold, color="black", lw=1, dashes=(4, 1.5))
        axes.locator_params(nbins=4)


def _width(across: int) -> float:
    """Return the width of a figure in inches; more detectors than a page holds make it wider."""
    return COLUMN if across == 1 else max(PAGE, across * _WIDE)


def spread(parts: Sequence[object]) -> tuple[float, float]:
    """Return a range that shows nearly all scores; the extreme 1 % are clipped to its ends."""
    import numpy as np

    every = np.concatenate([np.asarray(part, dtype=float) for part in parts])
    every = every[np.isfinite(every)]
    low, high = np.quantile(every, [0.005, 0.995])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


KIND = ScoreHistograms
