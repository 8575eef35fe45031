"""Intermediate perturbations of an iterative attack on a few images of a cell, for figures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medrobust.result.arrays import read_arrays, write_arrays

KIND = "iterates 1"


@dataclass(frozen=True)
class Iterates:
    """Some images of a cell and their intermediate perturbations.

    Attributes:
        ids: N sample ids.
        wanted: number of images requested; a smaller set has fewer.
        at: T iterations, counted from 1.
        clean: clean images, float32 (N, H, W, C) in [0, 1].
        perturbations: accumulated perturbation after each iteration of `at`, float32
            (T, N, H, W, C), in pixel units.
        eps: radius of the attack in its norm.
    """

    ids: tuple[str, ...]
    wanted: int
    at: tuple[int, ...]
    clean: NDArray[np.float32]
    perturbations: NDArray[np.float32]
    eps: float

    def write(self, path: Path) -> None:
        """Write a compressed NumPy archive atomically."""
        arrays = {
            "ids": np.array(self.ids, dtype=str),
            "wanted": np.array(self.wanted),
            "at": np.array(self.at),
            "clean": self.clean,
            "perturbations": self.perturbations,
            "eps": np.array(self.eps),
        }
        write_arrays(path, KIND, arrays)

    @classmethod
    def read(cls, path: Path) -> "Iterates | None":
        """Return what `write` wrote, or None if the file does not exist.

        Raises:
            ArraysError: the file is damaged or of another format.
        """
        arrays = read_arrays(path, KIND)
        if arrays is None:
            return None
        ids, at = arrays.texts("ids"), arrays.take("at", "iu", None)
        clean = arrays.take("clean", "f", len(ids), None, None, None)
        return cls(
            ids=ids,
            wanted=int(arrays.take("wanted", "iu")),
            at=tuple(map(int, at)),
            clean=clean,
            perturbations=arrays.take("perturbations", "f", len(at), *clean.shape),
            eps=float(arrays.take("eps", "iuf")),
        )
