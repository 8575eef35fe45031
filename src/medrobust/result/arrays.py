"""Arrays beside a row, in one compressed NumPy file: whole or not at all, and never code."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.result.store import write_atomically


class ArraysError(ValueError):
    """A file of arrays that cannot be read."""


def write_arrays(path: Path, kind: str, arrays: Mapping[str, Any]) -> None:
    """Write the arrays; equal ones give equal bytes.

    Args:
        path: file to write.
        kind: what they are and their format, such as `maps 1`; `read_arrays` asks for it.
        arrays: by name; none is called `kind`.
    """
    file = io.BytesIO()
    np.savez_compressed(file, kind=np.array(kind), **arrays)
    write_atomically(path, file.getvalue())


def read_arrays(path: Path, kind: str) -> dict[str, NDArray[Any]] | None:
    """What `write_arrays` left, or None when there is no such file.

    Raises:
        ArraysError: the file is damaged, or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        return None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ArraysError(f"{path} is damaged ({error}); delete it and run again") from None
    found = str(arrays.pop("kind", "something else"))
    if found != kind:
        raise ArraysError(f"{path} holds {found}, expected {kind}; delete it and run again")
    return arrays
