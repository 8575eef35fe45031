"""Groups of images that are not independent, such as those of one patient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medrobust.fingerprint import digest


@dataclass(frozen=True)
class Groups:
    """The group of each of N images.

    Attributes:
        kind: what the groups are, in the plural: `patients`, `lesions`.
        index: N numbers, counted from 0 in the order in which the groups first appear, so that they
            name no one.
    """

    kind: str
    index: tuple[int, ...]

    @classmethod
    def of(cls, names: Sequence[str | int], kind: str) -> "Groups | None":
        """Return the groups of images by name; None where no two images share one."""
        numbers: dict[str | int, int] = {}
        index = tuple(numbers.setdefault(name, len(numbers)) for name in names)
        return cls(kind, index) if len(numbers) < len(index) else None

    @property
    def count(self) -> int:
        """Return the number of groups."""
        return max(self.index) + 1

    @property
    def array(self) -> NDArray[np.int64]:
        """Return the index as int64 (N,)."""
        return np.array(self.index, dtype=np.int64)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of kind and index."""
        return digest([self.kind, list(self.index)])
