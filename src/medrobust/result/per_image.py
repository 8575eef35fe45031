"""Scores of each image of a cell, stored next to its row."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medrobust.result.arrays import read_arrays, write_arrays

KIND = "per image 1"


@dataclass(frozen=True)
class PerImage:
    """Metrics per image, whose means are in the row.

    Attributes:
        ids: N sample ids.
        scores: metric -> float64 (N,), such as `dice` and `clean_dice`.
    """

    ids: tuple[str, ...]
    scores: Mapping[str, NDArray[np.float64]]

    def write(self, path: Path) -> None:
        """Write a NumPy archive atomically; equal scores give equal bytes."""
        write_arrays(path, KIND, {"ids": np.array(self.ids, dtype=str), **self.scores})

    @classmethod
    def read(cls, path: Path) -> "PerImage | None":
        """Return what `write` wrote, or None if the file does not exist.

        Raises:
            ArraysError: the file is damaged or of another format.
        """
        arrays = read_arrays(path, KIND)
        if arrays is None:
            return None
        ids = arrays.texts("ids")
        names = [name for name in arrays if name != "ids"]
        return cls(ids, {name: arrays.take(name, "biuf", len(ids)) for name in names})
