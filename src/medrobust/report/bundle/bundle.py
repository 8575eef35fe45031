"""A bundle on disk: the plan of a sweep, its rows, and the records of their images."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medrobust.report.sweep import Sweep
from medrobust.report.table.config import TableConfig
from medrobust.result.row import Row, RowError
from medrobust.result.sealed import SealError, read_note, write_note
from medrobust.result.store import RowStore

NAME, ROWS, FORMAT = "bundle.json", "rows", 1


class BundleError(ValueError):
    """Raised when a folder is no bundle, a bundle is damaged, or rows cannot be published."""


@dataclass(frozen=True)
class Note:
    """Content of `bundle.json`.

    Attributes:
        command: command line that makes these rows again.
        jobs: number of jobs of the sweep; a budgeted sweep may have fewer rows.
        rows: ids of the rows, in the order of the sweep.
        files: name of each file in `rows` -> its SHA-256.
        package: digest of the package's code that made every row.
        revision: git revision of that code.
        table: plain data of the sweep's `table` node.
        figure: plain data of its `figure` node.
        format: version of this note.
    """

    command: str
    jobs: int
    rows: list[str]
    files: dict[str, str]
    package: str
    revision: str
    table: dict[str, Any]
    figure: Any = None
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Save the note, with a checksum."""
        write_note(folder / NAME, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Note":
        """Return what `write` wrote.

        Raises:
            BundleError: there is none, it is damaged, or of another format.
        """
        path = folder / NAME
        try:
            found = read_note(path)
        except OSError as error:
            raise BundleError(
                f"{path} cannot be read ({error.strerror}), expected a bundle; make one with "
                "medrobust report SWEEP_FOLDER --bundle FOLDER"
            ) from None
        except SealError as error:
            raise BundleError(
                f"{path} is damaged: {error}; take it from its source again"
            ) from None
        known = set(cls.__dataclass_fields__)
        if set(found) != known or found["format"] != FORMAT:
            raise BundleError(
                f"{path} has format {found.get('format')!r} and keys {sorted(found)}, expected "
                f"format {FORMAT} and {sorted(known)}; take it from its source again"
            )
        return cls(**found)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and found whole.

    Attributes:
        note: its note.
        sweep: its rows as a sweep, which tables, pages and figures are made of.
    """

    note: Note
    sweep: Sweep


def is_bundle(folder: str | Path) -> bool:
    """Return whether a folder has a bundle's note."""
    return (Path(folder) / NAME).is_file()


def read(folder: str | Path) -> Bundle:
    """Read a bundle.

    Raises:
        BundleError: it is no bundle, or a file is damaged, missing or not in the note.
        TableError: the table's config is wrong.
        FigureError: a figure's config is wrong.
    """
    from medrobust.report.figure.core.kinds import parse

    folder = Path(folder)
    note, store = Note.read(folder), RowStore(folder / ROWS)
    _check_files(store.folder, note)
    rows = tuple(_row(store, row_id) for row_id in note.rows)
    lacking = note.jobs - len(rows)
    return Bundle(
        note,
        Sweep(
            folder=folder,
            rows=rows,
            config=TableConfig.parse(note.table),
            problems=(f"{lacking} of {note.jobs} jobs have no row",) if lacking else (),
            command=note.command,
            jobs=note.jobs,
            skipped=0,
            pictures={row.id: store.picture(row.id) for row in rows},
            figures=parse(note.figure),
        ),
    )


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check_files(folder: Path, note: Note) -> None:
    there = {path.name for path in folder.glob("*")} if folder.is_dir() else set()
    for odd, what in (
        (set(note.files) - there, "is missing"),
        (there - set(note.files), "is not in the note"),
    ):
        if odd:
            raise BundleError(f"{folder / min(odd)} {what}; take the bundle from its source again")
    for name, digest in note.files.items():
        if digest_of(folder / name) != digest:
            raise BundleError(
                f"{folder / name} was altered: its digest is not that of the note; take the bundle "
                "from its source again"
            )


def _row(store: RowStore, row_id: str) -> Row:
    try:
        row = store.get(row_id)
    except RowError as error:
        raise BundleError(str(error)) from None
    if row is None:
        raise BundleError(f"{store.path(row_id)} is missing; take the bundle from its source again")
    return row


def codes(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return each pair of package digest and revision that made rows."""
    return sorted({(str(row.code.get("package", "")), row.revision) for row in rows})
