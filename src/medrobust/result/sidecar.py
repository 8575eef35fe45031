"""Check the files next to rows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from medrobust.result.arrays import MEND, ArraysError
from medrobust.result.convergence import Convergence
from medrobust.result.iterates import Iterates
from medrobust.result.maps import Maps
from medrobust.result.per_image import PerImage
from medrobust.result.picture import PictureError, read_picture
from medrobust.result.row import Row
from medrobust.result.scores import Scores
from medrobust.result.sealed import read_sealed
from medrobust.result.store import RowStore

READERS: Mapping[str, Callable[[Path], object]] = {
    "png": read_picture,
    "maps.npz": Maps.read,
    "iterates.npz": Iterates.read,
    "convergence.npz": Convergence.read,
    "scores.npz": Scores.read,
    "images.npz": PerImage.read,
}
"""Readers of the files next to a row, by the ending after its id."""

ALWAYS = ("png", "scores.npz", "images.npz")
"""Endings of files that a cell always writes if they apply; the others are optional."""


@dataclass(frozen=True)
class State:
    """Result of checking the files next to rows.

    Attributes:
        damage: one sentence for each damaged file.
        unchecked: readable files without a checksum, written by an earlier version.
    """

    damage: tuple[str, ...]
    unchecked: tuple[Path, ...]


def state(files: Iterable[Path]) -> State:
    """Read files next to rows and report their state.

    Args:
        files: paths as `paths` returns them; absent files are skipped.
    """
    damage: list[str] = []
    unchecked: list[Path] = []
    for path in files:
        ending = next(ending for ending in READERS if path.name.endswith(f".{ending}"))
        try:
            if READERS[ending](path) is not None and not read_sealed(path).checked:
                unchecked.append(path)
        except (ArraysError, PictureError) as error:
            damage.append(str(error))
    return State(tuple(damage), tuple(unchecked))


def present(store: RowStore, row_id: str) -> list[str]:
    """Return the endings of the files that are next to a row, in the order of `READERS`."""
    return [ending for ending in READERS if (store.folder / f"{row_id}.{ending}").is_file()]


def gone(store: RowStore, row: Row, endings: Iterable[str] = tuple(READERS)) -> list[str]:
    """Return one sentence for each file that was written next to a row and is no longer there."""
    listed = [ending for ending in endings if ending in row.files]
    missing = [path for path in paths(store, row.id, listed) if not path.exists()]
    return [f"{path} is gone; {MEND}" for path in missing]


def paths(store: RowStore, row_id: str, endings: Iterable[str] = tuple(READERS)) -> list[Path]:
    """Return the paths of a row's files, which may not exist."""
    return [store.folder / f"{row_id}.{ending}" for ending in endings]


def all_paths(store: RowStore) -> list[Path]:
    """Return all files next to rows in order, including those whose row is missing."""
    return sorted(path for ending in READERS for path in store.folder.glob(f"[!.]*.{ending}"))
