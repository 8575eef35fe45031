"""Loss and success of attacks step by step: evidence that they converged."""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medrobust.report.figure.core.base import Drawing, Figure, Source, canvas, heading
from medrobust.result.convergence import Convergence as Recorded
from medrobust.result.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMN, _HEIGHT = 3.2, 4.2  # inches


@dataclass(frozen=True, kw_only=True)
class Convergence(Figure):
    """One column per attacked cell: losses of its images above, share that reached the goal below.

    A curve is the largest loss so far, one colour per image, with a dot where the goal was first
    reached; it is broken where the attack changes to another loss or another view of the system.
    """

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing.

        Raises:
            FigureError: no cell has recorded losses.
        """
        cells: list[tuple[Row, Recorded]] = []
        for row in source.rows:
            found = source.read(row, "convergence.npz", Recorded.read)
            if found is not None and len(found.loss):
                cells.append((row, found))
        if not cells:
            raise source.lacks(
                "no attacked cell has recorded losses: run the sweep with 'convergence={images: 4}'"
            )
        made = canvas(len(cells) * _COLUMN + 0.6, _HEIGHT)
        heading(made, self.title, any(row.phantom for row, _ in cells))
        grid = made.subplots(2, len(cells), squeeze=False, sharex="col", height_ratios=[3, 2])
        for (row, found), above, below in zip(cells, grid[0], grid[1], strict=True):
            names = [row.cell.get(axis, "") for axis in ("attack", "defense", "threat")]
            above.set_title(" · ".join(filter(None, names)), fontsize=8.5)
            _losses(above, found)
            _reached(below, found)
        grid[0][0].set_ylabel("largest loss so far", fontsize=8.5)
        grid[1][0].set_ylabel("images fooled, %", fontsize=8.5)
        caption = (
            "Attacks step by step on a few images, by the number of candidates shown to the model: "
            "the largest loss so far (a curve per image, broken where loss or view change, a dot "
            "where the goal is first reached), and the share of the images that reached it."
        )
        return [Drawing(self.name, caption, made)]


def best_so_far(found: Recorded, place: int) -> NDArray[np.float64]:
    """Return the largest loss of an image since its stage began, at each of its events."""
    events = found.events(place)
    loss, stage = found.loss[events], found.stage[events]
    starts = [0, *(np.flatnonzero(np.diff(stage)) + 1), len(loss)]
    parts = [np.fmax.accumulate(loss[start:end]) for start, end in itertools.pairwise(starts)]
    return np.concatenate(parts) if parts else loss


def share_reached(found: Recorded) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return candidates at which an image first reached the goal, ascending, and the share then."""
    first = []
    for place in range(len(found.ids)):
        events = found.events(place)
        hits = np.flatnonzero(found.reached[events])
        if len(hits):
            first.append(int(found.asked[events][hits[0]]))
    at = np.array(sorted(first), np.int64)
    return at, np.arange(1, len(at) + 1) / len(found.ids)


def _losses(axes: "Axes", found: Recorded) -> None:
    for place in range(len(found.ids)):
        events, colour = found.events(place), f"C{place % 10}"
        asked, stage, best = found.asked[events], found.stage[events], best_so_far(found, place)
        breaks = np.flatnonzero(np.diff(stage)) + 1
        axes.plot(
            np.insert(asked.astype(np.float64), breaks, np.nan),
            np.insert(best, breaks, np.nan),
            color=colour,
            linewidth=1,
            marker="." if len(asked) == 1 else None,
        )
        hits = np.flatnonzero(found.reached[events])
        if len(hits):
            axes.plot(asked[hits[0]], best[hits[0]], "o", color=colour, markersize=4)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7.5)


def _reached(axes: "Axes", found: Recorded) -> None:
    at, share = share_reached(found)
    last = int(found.asked.max())
    ends = [share[-1] if len(share) else 0.0]
    axes.step([0, *at, last], [0.0, *(100 * share), *(100 * np.array(ends))], where="post")
    axes.set_ylim(-3, 103)
    axes.set_xlabel("candidates shown", fontsize=8.5)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=7.5)


KIND = Convergence
