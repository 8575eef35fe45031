"""Create folders for results."""

import errno
from pathlib import Path

_TAKEN = (errno.EEXIST, errno.ENOTDIR, errno.ELOOP)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents if they do not exist.

    Raises:
        NotADirectoryError: its path or a parent is a file or a dangling link.
        OSError: it cannot be created for another reason.
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
