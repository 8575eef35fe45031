"""The manifest: which images a dataset holds, by content, and the split that each is in."""

import contextlib
import csv
import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medrobust.data.error import DataError
from medrobust.data.split import SPLITS, Split
from medrobust.fingerprint import digest

_COLUMNS = ("id", "label", "split", "sha256")
_VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One sample as found on disk.

    Attributes:
        id: unique and stable name, `<dataset>/<...>`.
        label: class index; None for segmentation and detection, where it is a mask or boxes.
        group: samples with the same group (patient, lesion) must share a split.
        split: the official split; None where the dataset has none.
        files: the image, then its mask, or the file of its boxes, if there is one.
        index: position inside `files[0]` when that is an array file.
    """

    id: str
    label: int | None
    group: str
    split: Split | None
    files: tuple[Path, ...]
    index: int = 0


@dataclass(frozen=True)
class Record:
    """One line of the manifest: `sha256` is that of the sample's bytes (image and mask)."""

    id: str
    label: int | None
    split: Split
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All samples of a dataset, in the loader's order, and how they are turned into tensors.

    Attributes:
        name: dataset.
        view: what decides pixels and labels besides the bytes (size, channels, target).
        records: one per sample, all splits.
    """

    name: str
    view: Mapping[str, int | str | None]
    records: tuple[Record, ...]

    @cached_property
    def digest(self) -> str:
        """64 hex digits that change with any image, label, split or with the view."""
        lines = sorted((r.id, r.label, r.split, r.sha256) for r in self.records)
        return digest(
            {
                "version": _VERSION,
                "name": self.name,
                "view": dict(self.view),
                "records": [list(line) for line in lines],
            }
        )

    def counts(self) -> dict[Split, Counter[int | None]]:
        """Samples per class in each split."""
        return {s: Counter(r.label for r in self.records if r.split == s) for s in SPLITS}

    def shared(self) -> int:
        """Number of images that lie, byte for byte, in more than one split."""
        seen: dict[str, set[Split]] = {}
        for record in self.records:
            seen.setdefault(record.sha256, set()).add(record.split)
        return sum(len(splits) > 1 for splits in seen.values())


def write_records(path: Path, records: Sequence[Record], listing: str) -> None:
    """Write records as CSV, whole or not at all (temporary file, fsync, rename).

    Args:
        path: CSV file; its folder is made if need be.
        records: lines to write.
        listing: digest of the files that they were computed from, kept in the first line.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", newline="", encoding="utf-8") as file:
            file.write(f"# medrobust manifest {_VERSION}, file listing {listing}\n")
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            for r in records:
                writer.writerow([r.id, "" if r.label is None else r.label, r.split, r.sha256])
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise


def read_records(path: Path, listing: str) -> tuple[Record, ...] | None:
    """Records written for the same file listing, else None.

    Raises:
        DataError: the file was made for this listing and is damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    if not lines or lines[0] != f"# medrobust manifest {_VERSION}, file listing {listing}":
        return None
    rows = list(csv.reader(lines[1:]))
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise DataError(f"{path}: expected the columns {_COLUMNS}; delete the file to remake it")
    records = []
    for number, row in enumerate(rows[1:], start=3):
        if len(row) != len(_COLUMNS) or row[2] not in SPLITS or len(row[3]) != 64:
            raise DataError(f"{path}, line {number}: {row} is damaged; delete the file")
        split: Split = row[2]  # type: ignore[assignment]
        records.append(Record(row[0], int(row[1]) if row[1] else None, split, row[3]))
    return tuple(records)
