"""ROC curves of detectors: clean images against the images of each attack (Medical Aegis)."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medrobust.report.figure.core.base import (
    Drawing,
    Figure,
    Source,
    canvas,
    heading,
    several,
)
from medrobust.report.figure.core.caption import seeds_said
from medrobust.report.figure.core.scored import Group, Scored, groups
from medrobust.report.figure.core.series import but_seeds, unfinished
from medrobust.report.figure.core.style import BAND, COLUMN, PAGE, look
from medrobust.report.table.seeds import mean_sd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ACROSS = 3
_ENTRY = 0.15  # inches, height of a line of a legend
_GRID = np.linspace(0.0, 1.0, 201)
"""False positive rates at which the curves of several seeds are averaged."""


@dataclass(frozen=True)
class Mean:
    """A detector's curve against an attack; with several seeds, their mean.

    Attributes:
        false: false positive rates, rising.
        true: true positive rates.
        spread: standard deviation of `true` over the seeds, None for a single one.
        area: AUROC, the mean of the seeds' own.
        area_sd: its standard deviation, None for a single one.
        dots: false and true positive rate at the deployed threshold of each seed.
    """

    false: NDArray[np.float64]
    true: NDArray[np.float64]
    spread: NDArray[np.float64] | None
    area: float
    area_sd: float | None
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Roc(Figure):
    """One drawing per data set and victim, a panel per detector, a line per attack.

    The dot on a line is the deployed threshold, chosen on clean validation images. Seeds have
    drawings of their own. With `table.over` a line is the mean over these seeds of the true
    positive rates at each false positive rate, its band one standard deviation to either side.

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
        found = groups(source, self.attack, self.defense, source.over)
        scored = {
            cell.row.id
            for group in found
            for lines in group.panels.values()
            for cells in lines.values()
            for cell in cells
        }
        rest = [row for row in source.rows if row.id not in scored]
        lacking = unfinished([*source.failed, *rest], source.over)
        return [self._one(group, source.over, lacking) for group in found]

    def _one(self, group: Group, over: Sequence[str], lacking: Collection[Hashable]) -> Drawing:
        across = 2 if len(group.panels) == 4 else min(_ACROSS, len(group.panels))
        down = -(-len(group.panels) // across)
        width = COLUMN if across == 1 else PAGE
        entries = 1 + max(map(len, group.panels.values()))
        side = min(width / across, 2.6)
        made = canvas(width, down * (side + 0.4 + _ENTRY * entries) + 0.3)
        grid = made.subplots(down, across, squeeze=False).flatten()
        for axes in grid[len(group.panels) :]:
            axes.set_axis_off()
        order = {attack: number for number, attack in enumerate(group.attacks)}
        empty = []
        for number, (defense, lines) in enumerate(group.panels.items()):
            axes = grid[number]
            for attack, cells in lines.items():
                curve = mean_roc(cells, successful=self.successful)
                if curve is None or any(but_seeds(cell.row, over) in lacking for cell in cells):
                    empty.append(f"{defense} against {attack}")
                else:
                    _line(axes, attack, curve, order[attack], len(order))
            _frame(axes, defense, left=number % across == 0)
        heading(made, self.titled(group.apart), group.phantom)
        counts = {len(c) for lines in group.panels.values() for c in lines.values()}
        name = "_".join(filter(None, (self.name, group.apart.replace(", ", "_"))))
        caption = self._caption(over, counts, empty)
        return Drawing(name.replace("/", "_").replace(" ", "_"), caption, made)

    def _caption(self, over: Sequence[str], counts: set[int], empty: Sequence[str]) -> str:
        which = "those of them that fool" if self.successful else "all attacked"
        base = "correctly classified clean images" if self.successful else "all clean images"
        said = [f"ROC curves of detectors: {base} against {which}, with the AUROC."]
        if over:
            said.append(seeds_said(over, counts))
        dot = "Dots are the deployed thresholds" if over else "The dot is the deployed threshold"
        said.append(f"{dot}, from clean validation images.")
        if empty:
            said.append(
                f"No curve, as a seed failed or lacks scores of such images: {'; '.join(empty)}."
            )
        return " ".join(said)


def _line(axes: "Axes", attack: str, curve: Mean, number: int, total: int) -> None:
    looks = look(number, total)
    sd = "" if curve.area_sd is None else f" ± {100 * curve.area_sd:.1f}"
    label = f"{attack}: {100 * curve.area:.1f}{sd}"
    axes.plot(100 * curve.false, 100 * curve.true, label=label, **looks.line())
    if curve.spread is not None:
        low, high = curve.true - curve.spread, curve.true + curve.spread
        axes.fill_between(
            *(100 * curve.false, 100 * low, 100 * high),
            color=looks.colour,
            alpha=BAND,
            linewidth=0,
            zorder=1,
        )
    for dot in curve.dots:
        axes.plot(
            *([100 * rate] for rate in dot),
            linestyle="none",
            marker=looks.marker,
            markersize=5,
            color=looks.colour,
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=4,
        )


def _frame(axes: "Axes", title: str, *, left: bool) -> None:
    axes.plot([0, 100], [0, 100], color="0.7", lw=0.8, zorder=0)
    axes.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal", title=title)
    axes.set_xticks(range(0, 101, 25))
    axes.set_yticks(range(0, 101, 25))
    axes.set_xlabel("clean images rejected (%)")
    if left:
        axes.set_ylabel("attacked images rejected (%)")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.26), title="AUROC (%)", borderaxespad=0
        )


def mean_roc(cells: Sequence[Scored], *, successful: bool) -> Mean | None:
    """Return the curve of a cell, or the mean of those of several seeds; None if one has none.

    Means are taken at equal false positive rates. At a rate where a curve rises vertically it
    counts with its upper end.

    Args:
        cells: the cell of each seed.
        successful: keep only images that are correct when clean, and those that fool the victim.
    """
    curves = [found for cell in cells if (found := roc(cell, successful=successful)) is not None]
    if len(curves) < len(cells):
        return None
    dots = tuple(dot for *_, dot in curves)
    area, area_sd = mean_sd([area for _, _, area, _ in curves])
    if len(curves) == 1:
        false, true = (np.asarray(part, np.float64) for part in curves[0][:2])
        return Mean(false, true, None, area, area_sd, dots)
    every = np.stack([np.interp(_GRID, false, true) for false, true, _, _ in curves])
    # Every curve begins where nothing is rejected.
    false, true, spread = (
        np.concatenate([[0.0], part]) for part in (_GRID, every.mean(0), every.std(0, ddof=1))
    )
    return Mean(false, true, spread, area, area_sd, dots)


def roc(
    cell: Scored, *, successful: bool
) -> tuple[Sequence[float], Sequence[float], float, tuple[float, float]] | None:
    """Return false and true positive rates, AUROC and the deployed point; None if undefined."""
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
