"""ROC curves of detectors: clean images against the images of each attack (Medical Aegis)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust.report.figure.core.base import (
    Drawing,
    Figure,
    Source,
    canvas,
    heading,
    several,
)
from medrobust.report.figure.core.scored import Group, Scored, groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL, _ACROSS = 3.4, 3
_LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True, kw_only=True)
class Roc(Figure):
    """One drawing per data set, victim and seed, a panel per detector, a line per attack.

    The dot on a line is the deployed threshold, chosen on clean validation images.

    Attributes:
        attack: choices of `attack`; empty for all.
        defense: choices of `defense`; empty for all detectors.
        successful: keep only images that are correct when clean and attacked images that fool the
            victim; else keep all.
    """

    attack: tuple[str, ...] = ()
    defense: tuple[str, ...] = ()
    successful: bool = False

    def check(self) -> None:
        """Raise `FigureError` if a list of choices is invalid."""
        several("attack", self.attack)
        several("defense", self.defense)

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing per group."""
        return [self._one(group) for group in groups(source, self.attack, self.defense)]

    def _one(self, group: Group) -> Drawing:
        across = min(_ACROSS, len(group.panels))
        down = -(-len(group.panels) // across)
        made = canvas(across * _PANEL + 0.4, down * (_PANEL + 0.3) + 0.5)
        grid = made.subplots(down, across, squeeze=False).flatten()
        for axes in grid[len(group.panels) :]:
            axes.set_axis_off()
        for axes, (defense, cells) in zip(grid, group.panels.items(), strict=False):
            self._panel(axes, defense, cells)
        heading(made, self.titled(group.apart), group.phantom)
        which = "those of them that fool" if self.successful else "all attacked"
        base = "correctly classified clean images" if self.successful else "all clean images"
        caption = (
            f"ROC curves of detectors: {base} against {which}, with the AUROC. The dot is the "
            "deployed threshold, from clean validation images."
        )
        name = "_".join(filter(None, (self.name, group.apart.replace(", ", "_"))))
        return Drawing(name.replace("/", "_"), caption, made)

    def _panel(self, axes: "Axes", defense: str, cells: Sequence[Scored]) -> None:
        for number, cell in enumerate(cells):
            curve = roc(cell, successful=self.successful)
            if curve is None:
                continue
            false, true, area, dot = curve
            style = _LINES[number // 10 % len(_LINES)]
            (line,) = axes.plot(
                false, true, style, lw=1.3, label=f"{cell.attack}: {100 * area:.1f}"
            )
            axes.plot(*dot, "o", ms=4, color=line.get_color())
        axes.plot([0, 1], [0, 1], color="0.7", lw=0.8)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_title(defense, fontsize=9)
        axes.set_xlabel("clean images rejected", fontsize=8)
        axes.set_ylabel("attacked images rejected", fontsize=8)
        axes.tick_params(labelsize=7)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=6.5, loc="lower right", title="AUROC, %", title_fontsize=6.5)


def roc(
    cell: Scored, *, successful: bool
) -> tuple[Sequence[float], Sequence[float], float, tuple[float, float]] | None:
    """Return false and true positive rates, AUROC and the deployed point; None if undefined."""
    import numpy as np

    scores = cell.scores
    negative = scores.clean[scores.right] if successful else scores.clean
    positive = scores.adversarial[scores.fooled] if successful else scores.adversarial
    if not len(negative) or not len(positive):
        return None
    # One point per distinct score, from the strictest threshold on; scores above it are rejected.
    cuts = np.unique(np.concatenate([negative, positive]))[::-1]
    false, true = (
        np.concatenate([(part[None] > cuts[:, None]).mean(1), [1.0]])
        for part in (negative, positive)
    )
    area = float(np.trapezoid(true, false))
    dot = tuple(float((part > scores.threshold).mean()) for part in (negative, positive))
    return false.tolist(), true.tolist(), area, (dot[0], dot[1])


KIND = Roc
