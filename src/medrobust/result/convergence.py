"""Loss and success of an attack at each of its steps, on a few images of a cell."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medrobust.result.arrays import MEND, ArraysError, read_arrays, write_arrays

KIND = "convergence 1"


@dataclass(frozen=True)
class Convergence:
    """Losses and successes of an attack on some images, one image after another.

    An event is one call of the surrogate: a gradient step, a query, or a group of queries that are
    asked together.

    Attributes:
        ids: N sample ids.
        wanted: number of images requested; a smaller set has fewer.
        counts: int64 (N,), events of each image.
        asked: int64 (E,), candidates that the image's attack had shown by the end of the event.
        loss: float64 (E,), the largest loss of the event's candidates.
        reached: bool (E,), whether one of them fooled the system attacked, within the budget.
        stage: int64 (E,), index in `stages`; the losses of different stages are not comparable.
        stages: names of view and loss.
    """

    ids: tuple[str, ...]
    wanted: int
    counts: NDArray[np.int64]
    asked: NDArray[np.int64]
    loss: NDArray[np.float64]
    reached: NDArray[np.bool_]
    stage: NDArray[np.int64]
    stages: tuple[str, ...]

    def events(self, place: int) -> slice:
        """Return the place of one image's events in the arrays."""
        end = int(self.counts[: place + 1].sum())
        return slice(end - int(self.counts[place]), end)

    def write(self, path: Path) -> None:
        """Write a compressed NumPy archive atomically."""
        arrays = {
            "ids": np.array(self.ids, dtype=str),
            "wanted": np.array(self.wanted),
            "counts": self.counts,
            "asked": self.asked,
            "loss": self.loss,
            "reached": self.reached,
            "stage": self.stage,
            "stages": np.array(self.stages, dtype=str),
        }
        write_arrays(path, KIND, arrays)

    @classmethod
    def read(cls, path: Path) -> "Convergence | None":
        """Return what `write` wrote, or None if the file does not exist.

        Raises:
            ArraysError: the file is damaged or of another format.
        """
        arrays = read_arrays(path, KIND)
        if arrays is None:
            return None
        ids, stages = arrays.texts("ids"), arrays.texts("stages")
        counts = arrays.take("counts", "iu", len(ids))
        total = int(counts.sum())
        if counts.size and counts.min() < 0:
            raise ArraysError(f"{path}: counts has {counts.min()}, expected 0 or more; {MEND}")
        return cls(
            ids=ids,
            wanted=int(arrays.take("wanted", "iu")),
            counts=counts,
            asked=arrays.take("asked", "iu", total),
            loss=arrays.take("loss", "f", total),
            reached=arrays.take("reached", "b", total),
            stage=arrays.classes("stage", len(stages), total),
            stages=stages,
        )
