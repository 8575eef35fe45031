"""Rows on disk: one JSON file each, written atomically."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from medrobust.result.folder import make_folder
from medrobust.result.lock import locked
from medrobust.result.row import Row, RowError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old or the new content, never a part.

    Raises:
        OSError: the file cannot be written; on a full disk the message names it, and the old file
            stays.
        NotADirectoryError: its folder or a parent is a file or a dangling link.
    """
    try:
        with atomic_file(path) as file:
            file.write(data)
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, _full(path, len(data)), str(path)) from error
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write in pieces, which gets its name when the context ends without an error.

    Raises:
        NotADirectoryError: its folder or a parent is a file or a dangling link.
    """
    make_folder(path.parent)
    # Not `tempfile`: its files are readable by their owner only, even on a shared disk.
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _full(path: Path, size: int) -> str:
    place = next(parent for parent in path.parents if parent.exists())
    room = "its quota is used up"
    with suppress(OSError):
        usage = shutil.disk_usage(place)
        room = f"{usage.free / 2**20:.1f} of {usage.total / 2**20:.0f} MiB are free"
    return (
        f"the disk of {place} is full ({room}) for {size / 2**20:.1f} MiB more; what was there is "
        "unchanged: free some space (medrobust cache prune) and run the command again"
    )


class RowStore:
    """Folder of rows.

    Args:
        folder: folder of the files `<id>.json`, created with the first row.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, row_id: str) -> Path:
        """Return the path of a row's file."""
        return self.folder / f"{row_id}.json"

    def picture(self, row_id: str) -> Path:
        """Return the path of a row's image strips, which may not exist."""
        return self.folder / f"{row_id}.png"

    def maps(self, row_id: str) -> Path:
        """Return the path of a row's feature maps, which may not exist."""
        return self.folder / f"{row_id}.maps.npz"

    def iterates(self, row_id: str) -> Path:
        """Return the path of a row's intermediate perturbations, which may not exist."""
        return self.folder / f"{row_id}.iterates.npz"

    def convergence(self, row_id: str) -> Path:
        """Return the path of the losses of a row's attack, which may not exist."""
        return self.folder / f"{row_id}.convergence.npz"

    def scores(self, row_id: str) -> Path:
        """Return the path of a row's detector scores, which may not exist."""
        return self.folder / f"{row_id}.scores.npz"

    def per_image(self, row_id: str) -> Path:
        """Return the path of the record of a row's images, which may not exist."""
        return self.folder / f"{row_id}.images.npz"

    def lock(self, row_id: str) -> AbstractContextManager[None]:
        """Return the lock to hold while a row is computed, so that no sweep computes it twice."""
        return locked(self.folder / ".locks" / f"{row_id}.lock", f"row {row_id[:12]}")

    def get(self, row_id: str) -> Row | None:
        """Return the row, or None if it does not exist.

        Raises:
            RowError: the file is damaged or cannot be read.
        """
        path = self.path(row_id)
        if not path.exists():
            return None
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RowError(f"{path} is not text ({error}); delete it and run again") from None
        except OSError as error:
            raise RowError(f"{path} cannot be read ({error.strerror}); make it readable") from None
        row = Row.from_json(text, str(path))
        if row.id != row_id:
            raise RowError(f"{path} holds row {row.id}: it was renamed; delete it and run again")
        return row

    def put(self, row: Row) -> None:
        """Write a row; a `failed` row is replaced when its cell is run again."""
        write_atomically(self.path(row.id), row.to_json().encode())

    def rows(self, ids: Iterable[str] | None = None) -> list[Row]:
        """Return all rows sorted by id, or the existing ones of `ids` in their order."""
        found = (self.get(row_id) for row_id in dict.fromkeys(self.ids() if ids is None else ids))
        return [row for row in found if row is not None]

    def ids(self) -> list[str]:
        """Return the ids of all rows, including damaged ones."""
        return sorted(path.stem for path in self.folder.glob("[!.]*.json"))

    def damage(self) -> dict[str, str]:
        """Return a message for each row that cannot be read, by id."""
        wrong = {}
        for row_id in self.ids():
            try:
                self.get(row_id)
            except RowError as error:
                wrong[row_id] = str(error)
        return wrong
