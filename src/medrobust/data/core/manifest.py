"""The manifest: the images of a dataset by content, and the split of each."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medrobust.data.core.error import DataError
from medrobust.data.core.split import SPLITS, Split
from medrobust.fingerprint import digest
from medrobust.result.sealed import SealError, read_sealed, write_sealed

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
        files: the image, then its mask or box file if it has one.
        index: position in `files[0]` if that is an array file.
    """

    id: str
    label: int | None
    group: str
    split: Split | None
    files: tuple[Path, ...]
    index: int = 0


@dataclass(frozen=True)
class Record:
    """One line of the manifest; `sha256` is that of the sample's bytes (image and mask)."""

    id: str
    label: int | None
    split: Split
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """All samples of a dataset, in the loader's order, and their conversion to tensors.

    Attributes:
        name: dataset.
        view: settings that decide pixels and labels (size, channels, target).
        records: one per sample, all splits.
    """

    name: str
    view: Mapping[str, int | str | None]
    records: tuple[Record, ...]

    @cached_property
    def digest(self) -> str:
        """Return 64 hex digits that change with any image, label or split, and with the view."""
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
        """Return the number of samples per class in each split."""
        return {s: Counter(r.label for r in self.records if r.split == s) for s in SPLITS}

    def shared(self) -> int:
        """Return the number of images that are, byte for byte, in more than one split."""
        seen: dict[str, set[Split]] = {}
        for record in self.records:
            seen.setdefault(record.sha256, set()).add(record.split)
        return sum(len(splits) > 1 for splits in seen.values())


def write_records(path: Path, records: Sequence[Record], listing: str) -> None:
    """Write records as CSV with a checksum, atomically.

    Args:
        path: CSV file; its folder is created if needed.
        records: lines to write.
        listing: digest of the file listing, stored in the first line.
    """
    file = io.StringIO(newline="")
    file.write(_first_line(listing))
    writer = csv.writer(file, lineterminator="\r\n")  # so that CR or LF in a name is quoted
    writer.writerow(_COLUMNS)
    for r in records:
        writer.writerow([r.id, "" if r.label is None else r.label, r.split, r.sha256])
    write_sealed(path, file.getvalue().encode())


def read_records(path: Path, listing: str) -> tuple[Record, ...] | None:
    """Return the records written for the same file listing, else None.

    A file without a checksum is of an earlier version and also gives None.

    Raises:
        DataError: the file was made for this listing and is damaged.
    """
    try:
        content, checked = read_sealed(path)
    except FileNotFoundError:
        return None
    except (SealError, OSError) as error:
        raise DataError(f"{path} is damaged ({error})") from None
    first = _first_line(listing).encode()
    if not content.startswith(first) or not checked:
        return None
    rows = csv.reader(io.StringIO(content[len(first) :].decode(), newline=""))
    if tuple(next(rows)) != _COLUMNS:
        raise DataError(f"{path}: expected the columns {_COLUMNS}")
    return tuple(
        Record(name, int(label) if label else None, split, sha256)  # type: ignore[arg-type]
        for name, label, split, sha256 in rows
    )


def _first_line(listing: str) -> str:
    return f"# medrobust manifest {_VERSION}, file listing {listing}\n"
