"""Rows on disk: one JSON file each, whole or absent."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from medrobust.result.folder import make_folder
from medrobust.result.lock import locked
from medrobust.result.row import Row, RowError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part.

    Raises:
        OSError: it cannot be written; on a full disk it says which one, and the old file stays.
        NotADirectoryError: its folder, or one above it, is a file or a link to no folder.
    """
    try:
        make_folder(path.parent)
        _write(path, data)
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, _full(path, len(data)), str(path)) from error
        raise


def _write(path: Path, data: bytes) -> None:
    # Opened by hand: `tempfile` would make it readable by its owner only, on a shared disk too.
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with part.open("xb") as file:
            file.write(data)
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
        "unchanged: free some space (python -m medrobust.cache prune) and run the command again"
    )


class RowStore:
    """A folder of rows.

    Args:
        folder: where `<id>.json` lie; made when the first row is written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, row_id: str) -> Path:
        """File of a row."""
        return self.folder / f"{row_id}.json"

    def picture(self, row_id: str) -> Path:
        """Where the strips of a row's images lie, if it has any; see `evaluation.strip.sheet`."""
        return self.folder / f"{row_id}.png"

    def maps(self, row_id: str) -> Path:
        """Where the maps of a row's images lie, if it has any; see `result.maps`."""
        return self.folder / f"{row_id}.maps.npz"

    def iterates(self, row_id: str) -> Path:
        """Where an attack's perturbations on the way lie, if recorded; see `result.iterates`."""
        return self.folder / f"{row_id}.iterates.npz"

    def scores(self, row_id: str) -> Path:
        """Where the scores of a detector's row lie, if it has any; see `result.scores`."""
        return self.folder / f"{row_id}.scores.npz"

    def per_image(self, row_id: str) -> Path:
        """Where the scores of a row's images lie, if it has any; see `result.per_image`."""
        return self.folder / f"{row_id}.images.npz"

    def lock(self, row_id: str) -> AbstractContextManager[None]:
        """Hold while a row is computed: of two sweeps, one waits and then finds it done."""
        return locked(self.folder / ".locks" / f"{row_id}.lock", f"row {row_id[:12]}")

    def get(self, row_id: str) -> Row | None:
        """The row, or None when there is none.

        Raises:
            RowError: the file is there but damaged, or cannot be read.
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
        """Write a row; a `failed` one is replaced when its cell is run again."""
        write_atomically(self.path(row.id), row.to_json().encode())

    def rows(self, ids: Iterable[str] | None = None) -> list[Row]:
        """All rows, or those of `ids` that exist, in the order of `ids` or else by id."""
        found = (self.get(row_id) for row_id in dict.fromkeys(self.ids() if ids is None else ids))
        return [row for row in found if row is not None]

    def ids(self) -> list[str]:
        """Of all rows, damaged ones too."""
        return sorted(path.stem for path in self.folder.glob("[!.]*.json"))

    def damage(self) -> dict[str, str]:
        """What is wrong with rows that cannot be read, by id."""
        wrong = {}
        for row_id in self.ids():
            try:
                self.get(row_id)
            except RowError as error:
                wrong[row_id] = str(error)
        return wrong
