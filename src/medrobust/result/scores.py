"""Detector scores of the images of a cell, for figures."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.result.arrays import read_arrays, write_arrays

KIND = "scores 1"


@dataclass(frozen=True)
class Scores:
    """Scores of a cell's N images, higher = more adversarial.

    Attributes:
        clean: scores of the clean images, float64 (N,).
        adversarial: scores of the same images after the attack, float64 (N,).
        right: whether the clean prediction is correct, rejected or not, bool (N,).
        fooled: whether the attack made a correct prediction wrong, rejected or not, bool (N,).
        threshold: images with a score above it are rejected.
        changed: False if the attacked images are the clean ones.
    """

    clean: NDArray[np.float64]
    adversarial: NDArray[np.float64]
    right: NDArray[np.bool_]
    fooled: NDArray[np.bool_]
    threshold: float
    changed: bool

    def write(self, path: Path) -> None:
        """Write a NumPy archive atomically; equal scores give equal bytes."""
        arrays: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        write_arrays(path, KIND, arrays)

    @classmethod
    def read(cls, path: Path) -> "Scores | None":
        """Return what `write` wrote, or None if the file does not exist.

        Raises:
            ArraysError: the file is damaged or of another format.
        """
        arrays = read_arrays(path, KIND)
        if arrays is None:
            return None
        clean = arrays.take("clean", "f", None)
        return cls(
            clean=clean,
            adversarial=arrays.take("adversarial", "f", len(clean)),
            right=arrays.take("right", "b", len(clean)),
            fooled=arrays.take("fooled", "b", len(clean)),
            threshold=float(arrays.take("threshold", "iuf")),
            changed=bool(arrays.take("changed", "b")),
        )
