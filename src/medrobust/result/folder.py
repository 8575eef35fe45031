"""Folders that results go into."""

import errno
from pathlib import Path

_TAKEN = (errno.EEXIST, errno.ENOTDIR, errno.ELOOP)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless they are there.

    Raises:
        NotADirectoryError: a file, or a link to no folder, has its name or that of one above it.
        OSError: it cannot be made for another reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        for place in (folder, *folder.parents):
            if place.is_symlink() and not place.is_dir():
                what = f"a link to {place.readlink()}, which is no folder"
            elif place.is_file():
                what = "a file"
            else:
                continue
            raise NotADirectoryError(
                f"{place} is {what}, expected a folder; move it away, or name another place with "
                "paths.root or paths.outputs"
            ) from None
        raise
