"""The scores of each image of a cell, beside its row."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medrobust.result.arrays import read_arrays, write_arrays

KIND = "per image 1"


@dataclass(frozen=True)
class PerImage:
    """What a row's means are means of.

    Attributes:
        ids: N sample ids.
        scores: metric -> float64 (N,), such as `dice` and `clean_dice`.
    """

    ids: tuple[str, ...]
    scores: Mapping[str, NDArray[np.float64]]

    def write(self, path: Path) -> None:
        """Write a NumPy archive, whole or not at all; the same scores, the same bytes."""
        write_arrays(path, KIND, {"ids": np.array(self.ids, dtype=str), **self.scores})

    @classmethod
    def read(cls, path: Path) -> "PerImage | None":
        """What `write` left, or None when there is no such file.

        Raises:
            ArraysError: the file is damaged, or of another format.
        """
        arrays = read_arrays(path, KIND)
        if arrays is None:
            return None
        ids = arrays.texts("ids")
        names = [name for name in arrays if name != "ids"]
        return cls(ids, {name: arrays.take(name, "biuf", len(ids)) for name in names})
