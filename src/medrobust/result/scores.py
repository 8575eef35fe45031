"""The scores that a detector gave the images of a cell, for figures."""

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
        clean: of the clean images, float64 (N,).
        adversarial: of the same images, attacked, float64 (N,).
        right: whether the clean answer is right, refused or not, bool (N,).
        fooled: whether the attack turned a right answer wrong, refused or not, bool (N,).
        threshold: above it an image is refused.
        changed: False where the attacked images are the clean ones.
    """

    clean: NDArray[np.float64]
    adversarial: NDArray[np.float64]
    right: NDArray[np.bool_]
    fooled: NDArray[np.bool_]
    threshold: float
    changed: bool

    def write(self, path: Path) -> None:
        """Write a NumPy archive, whole or not at all; the same scores, the same bytes."""
        arrays: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        write_arrays(path, KIND, arrays)

    @classmethod
    def read(cls, path: Path) -> "Scores | None":
        """What `write` left, or None when there is no such file.

        Raises:
            ArraysError: the file is damaged, or of another format.
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
