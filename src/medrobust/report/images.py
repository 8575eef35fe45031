"""One CSV of a sweep with a line for every image of every cell."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medrobust.report.sweep import Sweep, records_of
from medrobust.result.per_image import COLUMNS, PerImage
from medrobust.result.row import CELL, Row
from medrobust.result.store import atomic_file
from medrobust.spreadsheet import inert

NAME = "images.csv"


def write_images(sweep: Sweep, folder: str | Path) -> Path | None:
    """Write `images.csv` atomically, one record at a time, so that any sweep fits into memory.

    A line has the row's id, the names of its cell, the sample id and the columns of its record;
    columns that do not apply are empty. `member_name` names the member of an ensemble attack. Text
    that looks like a formula gets an apostrophe. Rows without a sound record are left out.

    Args:
        sweep: the collected sweep.
        folder: output folder, created if absent.

    Returns:
        The path of the file; None if no row has a record. The same rows give the same bytes.
    """
    columns = _columns(sweep)
    if columns is None:
        return None
    path = Path(folder) / NAME
    with atomic_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row_id", *CELL, "image", *map(inert, columns)])
        for row, record in _records(sweep):
            writer.writerows(_lines(row, record, columns))
        text.flush()
    return path


def _records(sweep: Sweep) -> Iterator[tuple[Row, PerImage]]:
    """Yield the rows that have a sound record, with it."""
    read = records_of(sweep)
    for row in sweep.rows:
        record = read(row)
        if record is not None:
            yield row, record


def _columns(sweep: Sweep) -> list[str] | None:
    """Return the columns of all records, known ones first; None without any record."""
    found: dict[str, None] = {}
    there = False
    for _, record in _records(sweep):
        there = True
        found |= dict.fromkeys([*record.columns, *(["member_name"] if record.members else [])])
    order = {name: place for place, name in enumerate((*COLUMNS, "member_name"))}
    return sorted(found, key=lambda name: order.get(name, len(order))) if there else None


def _lines(row: Row, record: PerImage, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the lines of one row."""
    count = len(record.ids)
    own = {name: values.tolist() for name, values in record.columns.items()}
    if record.members and "member" in own:
        names = (*map(inert, record.members), "")  # -1, for none, is the last
        own["member_name"] = [names[place] for place in own["member"]]
    place = [inert(text) for text in (row.id, *(row.cell.get(axis, "") for axis in CELL))]
    empty = [""] * count
    values = (own.get(name, empty) for name in columns)
    for image, *line in zip(record.ids, *values, strict=True):
        yield (*place, inert(image), *line)
