"""Intermediate perturbations of an iterative attack (SMIA, Figure 2)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medrobust.report.figure.core.base import Drawing, Figure, Source, canvas, heading
from medrobust.report.figure.core.case import bare
from medrobust.result.iterates import Iterates
from medrobust.result.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL = 1.5  # inches


@dataclass(frozen=True, kw_only=True)
class Perturbations(Figure):
    """One drawing per recorded image: a line for each attack, a column for each iteration.

    A perturbation is drawn from -eps (black) to +eps (white), channel by channel; grey is zero.
    Below it are its variance in units of eps² and its cosine with the perturbation to its left.
    """

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing per image."""
        cells = [
            (row, found)
            for row in source.rows
            if (found := source.read(row, "iterates.npz", Iterates.read))
        ]
        if not cells:
            raise source.lacks(
                "no cell has recorded perturbations: run the sweep with "
                "'iterates={at: [1, 4, 9], images: 1}'"
            )
        ids = list(dict.fromkeys(name for _, found in cells for name in found.ids))
        return [self._one(cells, name, number, len(ids)) for number, name in enumerate(ids)]

    def _one(
        self, cells: list[tuple[Row, Iterates]], name: str, number: int, total: int
    ) -> Drawing:
        cells = [(row, found) for row, found in cells if name in found.ids]
        iterations = sorted({number for _, found in cells for number in found.at})
        width = 1 + len(iterations)
        made = canvas(width * _PANEL + 0.6, len(cells) * (_PANEL + 0.45) + 0.5)
        heading(made, self.title, any(row.phantom for row, _ in cells))
        grid = made.subplots(len(cells), width, squeeze=False)
        for line, (row, found) in zip(grid, cells, strict=True):
            place = found.ids.index(name)
            _show(line[0], found.clean[place])
            line[0].set_ylabel(row.cell.get("attack", ""), fontsize=8.5)
            last = None
            for axes in line[1:]:
                bare(axes)
            for axes, iteration in zip(line[1:], iterations, strict=True):
                if iteration not in found.at:
                    continue
                scaled = found.perturbations[found.at.index(iteration), place] / found.eps
                _show(axes, (scaled.clip(-1, 1) + 1) / 2)
                said = f"variance {scaled.var(dtype=np.float64):.3f}"
                axes.set_xlabel(said + _cosine(scaled, last), fontsize=7.5)
                last = scaled
        for axes, word in zip(
            grid[0], ("image", *(f"iteration {n}" for n in iterations)), strict=True
        ):
            axes.set_title(word, fontsize=8.5, pad=3)
        eps = " and ".join(dict.fromkeys(f"{255 * found.eps:.4g}/255" for _, found in cells))
        caption = (
            f"Perturbations of {name} during the attack, from −ε (black) to +ε (white), "
            f"ε = {eps}: variance in units of ε², cosine with the one to the left."
        )
        return Drawing(self.name if total == 1 else f"{self.name}_{number}", caption, made)


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32] | None) -> str:
    """Return the cosine of two perturbations as text; empty if it is undefined."""
    if other is None or not one.any() or not other.any():
        return ""
    a, b = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    return f"\ncosine {a @ b / np.sqrt((a @ a) * (b @ b)):.3f}"


def _show(axes: "Axes", picture: NDArray[np.float32]) -> None:
    """Draw values in [0, 1], grey or colour, without ticks."""
    grey = picture.shape[2] == 1
    if grey:
        axes.imshow(picture[..., 0], cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(picture)
    bare(axes)


KIND = Perturbations
