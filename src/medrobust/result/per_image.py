"""Record of every image of a cell, stored next to its row."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.result.arrays import MEND, ArraysError, read_arrays, write_arrays

KIND = "per image 3"
OLDER = ("per image 2", "per image 1")
"""Earlier kinds that are still read: they do not say whether the defense is randomized."""

COLUMNS = (
    *("group", "label", "clean_answer", "answer", "clean_correct", "correct"),
    *("clean_abstained", "abstained", "clean_detected", "detected"),
    *("clean_log_odds", "log_odds", "queries", "member"),
)
"""Columns of a classifier's record, in their order; each is there if it applies."""


@dataclass(frozen=True)
class PerImage:
    """Record of what a cell decided of each image; means of the columns are metrics of the row.

    Attributes:
        ids: N sample ids.
        columns: name -> (N,), float64 for scores, shares and log-odds, int64 for classes and
            counts; see `COLUMNS`. Images with the same `group` are of one patient or lesion; absent
            where all are independent. Of masks `dice` and others, of boxes `found` and others.
            Of a randomized defense with several draws, `correct` and `dice` are means, and
            `correct_draw_1`, … are the draws.
        members: names of an ensemble attack's members, which `member` counts from 0.
        random: whether the defense is randomized; None in records of earlier versions.
    """

    ids: tuple[str, ...]
    columns: Mapping[str, NDArray[Any]]
    members: tuple[str, ...] = ()
    random: bool | None = None

    def draws(self, name: str) -> NDArray[np.float64] | None:
        """Return a column's values in each draw of the defense, (K, N).

        Args:
            name: `correct` or `dice`.

        Returns:
            None where the column is absent, or the defense is randomized and has less than two
            draws: then nothing tells an image's share from luck. A deterministic defense has K = 1.
        """
        several: list[NDArray[Any]] = []
        while (key := draw_of(name, len(several) + 1)) in self.columns:
            several.append(self.columns[key])
        if several:
            return np.stack(several).astype(np.float64)
        if self.random is not False or name not in self.columns:
            return None
        return self.columns[name][None].astype(np.float64)

    def write(self, path: Path) -> None:
        """Write a NumPy archive atomically; equal records give equal bytes."""
        names = {"members": np.array(self.members, dtype=str)} if self.members else {}
        known = {} if self.random is None else {"random": np.array(self.random)}
        ids = {"ids": np.array(self.ids, dtype=str)}
        write_arrays(path, KIND, {**ids, **known, **names, **self.columns})

    @classmethod
    def read(cls, path: Path) -> "PerImage | None":
        """Return what `write` wrote, or None if the file does not exist.

        Raises:
            ArraysError: the file is damaged or of another format.
        """
        arrays = read_arrays(path, KIND, *OLDER)
        if arrays is None:
            return None
        ids = arrays.texts("ids")
        members = arrays.texts("members") if "members" in arrays else ()
        random = bool(arrays.take("random", "b")) if "random" in arrays else None
        names = [name for name in arrays if name not in ("ids", "members", "random")]
        columns = {name: arrays.take(name, "biuf", len(ids)) for name in names}
        places = columns.get("member", np.array([], dtype=np.int64))
        if members and places.size and not -1 <= places.min() <= places.max() < len(members):
            raise ArraysError(
                f"{path}: member goes from {places.min()} to {places.max()}, expected -1 to "
                f"{len(members) - 1}; {MEND}"
            )
        return cls(ids, columns, members, random)


def draw_of(name: str, number: int) -> str:
    """Return the name of a column's values in one draw of the defense, counted from 1."""
    return f"{name}_draw_{number}"
