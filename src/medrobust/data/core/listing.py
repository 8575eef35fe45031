"""Reading of class folders and CSV tables, with an error for whatever does not fit."""

import csv
import io
import itertools
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from medrobust.data.core.error import DataError


def images_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the image files of a folder by name, without hidden files (`.DS_Store`).

    Raises:
        DataError: the folder holds something else, two files that differ only in their suffix, or
            nothing.
    """
    files = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    for path in files:
        if path.suffix.lower() not in suffixes or not path.is_file():
            raise DataError(f"{path}: expected only files of type {sorted(suffixes)} in {folder}")
    if not files:
        raise DataError(f"{folder}: no image in it, expected files of type {sorted(suffixes)}")
    for one, other in itertools.pairwise(sorted(files, key=lambda path: path.stem)):
        if one.stem == other.stem:
            raise DataError(
                f"{one} and {other.name} have the same name; rename or remove one of them"
            )
    return files


def check_classes(folder: Path, classes: Collection[str], unused: Collection[str] = ()) -> None:
    """Check that the sub-folders are the classes.

    Args:
        folder: holds one folder per class.
        classes: names that a sub-folder may have.
        unused: further names of the published set that are deliberately ignored.

    Raises:
        DataError: there is another sub-folder.
    """
    for path in sorted(p for p in folder.iterdir() if p.is_dir()):
        if not path.name.startswith(".") and path.name not in {*classes, *unused}:
            raise DataError(f"{path}: class {path.name!r}, expected one of {list(classes)}")


def read_text(path: Path) -> str:
    """Read a text file, keeping its line ends.

    Raises:
        DataError: the file is not UTF-8; names the first invalid byte.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is {content[error.start]:#04x}, expected text in UTF-8; "
            "save the file again in this encoding"
        ) from None


def read_table(path: Path, columns: Collection[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the rows of a CSV file with their line numbers.

    Raises:
        DataError: the file is not text, a column is missing, or a row has too few or too many
            fields.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        found = reader.fieldnames or []
        for column in columns:
            if column not in found:
                raise DataError(f"{path}: no column {column!r}, only {list(found)}")
        for row in reader:
            if None in row or None in row.values():
                raise DataError(f"{path}, line {reader.line_num}: expected {len(found)} fields")
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}; save the table as CSV again"
        ) from None


def match_files(
    table: Path, names: Mapping[str, int], folder: Path, suffix: str
) -> dict[str, Path]:
    """Return the image of each name in a table; the two must match exactly.

    Args:
        table: CSV file of the names, for messages.
        names: line of each image's stem.
        folder: holds `<name><suffix>`.
        suffix: file type of the images.

    Raises:
        DataError: a row has no image, or an image no row.
    """
    files = {p.stem: p for p in images_in(folder, (suffix,))}
    for name, line in names.items():
        if name not in files:
            raise DataError(f"{table}, line {line}: no image {folder / (name + suffix)}")
    for name in files:
        if name not in names:
            raise DataError(f"{files[name]}: no row for it in {table}")
    return {name: files[name] for name in names}
