"""Checks of a dataset's samples before its manifest is written."""

from collections.abc import Sequence

from medrobust.data.core.error import DataError
from medrobust.data.core.manifest import Entry


def check_entries(name: str, entries: Sequence[Entry], classes: int) -> None:
    """Check the samples of a dataset for what a manifest cannot hold.

    Args:
        name: name of the dataset, for the error.
        entries: samples of the dataset.
        classes: number of classes K.

    Raises:
        DataError: a duplicate id, a file name that is not UTF-8, or a label outside 0 to K - 1.
    """
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise DataError(f"{name}: {entry.id} occurs twice ({entry.files[0]})")
        seen.add(entry.id)
        if not _is_text(entry.id):
            raise DataError(
                f"{name}: {str(entry.files[0])!a} has a name that is not UTF-8; rename the file"
            )
        if entry.label is not None and not 0 <= entry.label < classes:
            raise DataError(
                f"{name}: label {entry.label} of {entry.id}, expected 0 to {classes - 1}"
            )


def _is_text(name: str) -> bool:
    """Return whether a file name is valid UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
