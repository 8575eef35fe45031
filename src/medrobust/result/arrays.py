"""Arrays next to a row, in one compressed NumPy file that is written atomically."""

import io
from collections.abc import Mapping
from pathlib import Path
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.result.sealed import read_sealed, write_sealed

MEND = "run its cell again to recreate it"
"""Fix for a damaged file next to a row, for messages."""

_END = b"PK\x05\x06"  # starts the end record of a zip without a comment


class ArraysError(ValueError):
    """Raised when a file of arrays cannot be read."""


class Arrays(dict[str, NDArray[Any]]):
    """Arrays of a file, by name.

    Args:
        path: path of the file, for messages.
        arrays: arrays by name.
    """

    def __init__(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        super().__init__(arrays)
        self.path = path

    def take(self, name: str, kinds: str, *shape: int | EllipsisType | None) -> NDArray[Any]:
        """Return an array after checking its type and shape.

        Args:
            name: name of the array.
            kinds: allowed letters of NumPy's `dtype.kind`: `b`, `i`, `u`, `f`, `U`.
            shape: lengths of its axes; None for any length, a last `...` for any further axes.

        Raises:
            ArraysError: the array is absent, or has another type or shape.
        """
        if name not in self:
            raise ArraysError(f"{self.path} lacks the array {name!r}; {MEND}")
        found = self[name]
        lengths = [length for length in shape if not isinstance(length, EllipsisType)]
        more = len(lengths) < len(shape)
        fits = found.ndim >= len(lengths) if more else found.ndim == len(lengths)
        if found.dtype.kind not in kinds or not (
            fits
            and all(
                length in (None, axis) for length, axis in zip(lengths, found.shape, strict=False)
            )
        ):
            wanted = ", ".join("any" if length is None else str(length) for length in lengths)
            raise ArraysError(
                f"{self.path}: {name} is {found.dtype} {found.shape}, expected a type of kind "
                f"{kinds} and the shape ({wanted}{', ...' if more else ''}); {MEND}"
            )
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, such as sample ids.

        Raises:
            ArraysError: the array is absent, or is not a list of texts.
        """
        return tuple(map(str, self.take(name, "U", None)))

    def classes(self, name: str, count: int, *shape: int | EllipsisType | None) -> NDArray[Any]:
        """Return class indices.

        Args:
            name: name of the array.
            count: number of classes K.
            shape: lengths of the axes, as for `take`.

        Raises:
            ArraysError: the array is absent, has another type or shape, or holds a value outside
                0 to K - 1.
        """
        found = self.take(name, "iu", *shape)
        if found.size and (found.min() < 0 or found.max() >= count):
            raise ArraysError(
                f"{self.path}: {name} goes from {found.min()} to {found.max()}, expected 0 to "
                f"{count - 1}; {MEND}"
            )
        return found


def write_arrays(path: Path, kind: str, arrays: Mapping[str, Any]) -> None:
    """Write arrays with a checksum; equal arrays give equal bytes.

    Args:
        path: file to write.
        kind: content and format version, such as `maps 1`, which `read_arrays` expects.
        arrays: arrays by name; the name `kind` is reserved.
    """
    file = io.BytesIO()
    np.savez_compressed(file, kind=np.array(kind), **arrays)
    write_sealed(path, file.getvalue())


def read_arrays(path: Path, kind: str, *older: str) -> Arrays | None:
    """Return the arrays that `write_arrays` wrote, or None if the file does not exist.

    Args:
        path: file to read.
        kind: expected content and format version.
        older: earlier versions that are read, too.

    Raises:
        ArraysError: the file is damaged or of another kind.
    """
    try:
        content, checked = read_sealed(path)
        if not checked and content[-len(_END) - 18 :][: len(_END)] != _END:
            raise ValueError("it does not end as an archive does")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged archive can raise almost anything
        raise ArraysError(f"{path} is damaged ({error}); {MEND}") from None
    found = str(arrays.pop("kind", "something else"))
    if found not in (kind, *older):
        raise ArraysError(f"{path} holds {found}, expected {kind}; {MEND}")
    return Arrays(path, arrays)
