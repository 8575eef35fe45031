"""Pack the rows of a sweep into a bundle."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medrobust.report.bundle.bundle import NAME, ROWS, BundleError, Note, codes, digest_of
from medrobust.report.sweep import Sweep, read_plan
from medrobust.result.row import Row
from medrobust.result.store import RowStore

_ABSOLUTE = re.compile(r"(?:^|[=\s'\"\[,:])((?:/|~/|[A-Za-z]:\\)[^\s'\"\],}]+)")
"""An absolute path in a text, which another machine does not have."""


def pack(sweep: Sweep, folder: str | Path) -> Path:
    """Write the rows of a sweep, with the records of their images, as a bundle.

    Jobs without a row are counted in it. A bundle that is there is replaced.

    Args:
        sweep: the collected sweep.
        folder: folder of the bundle, created if absent.

    Returns:
        The path of its note.

    Raises:
        BundleError: no row; a row failed, is of phantoms, was made by code that its revision does
            not have or that other rows do not share, lacks the record of its images, or holds an
            absolute path.
    """
    folder = Path(folder)
    rows = sweep.rows
    if not rows:
        raise BundleError(f"{sweep.folder} has no row, expected one at least; run the sweep first")
    for row in rows:
        for problem in unfit(row):
            raise BundleError(f"row {row.id[:12]} {problem}")
    made_by = codes(rows)
    if len(made_by) > 1:
        revisions = ", ".join(revision for _, revision in made_by)
        raise BundleError(
            f"the rows of {sweep.folder} were made by {len(made_by)} states of the code "
            f"({revisions}), expected one; renew the older rows with rerun=stale"
        )
    plan, damage = read_plan(sweep.folder)
    if damage:
        raise BundleError(f"{damage}; run the sweep's command again")
    kept = _copied(rows, sweep, folder / ROWS)
    package, revision = made_by[0]
    note = Note(
        command=sweep.command,
        jobs=sweep.jobs - sweep.shared,
        rows=[row.id for row in rows],
        files={name: digest_of(folder / ROWS / name) for name in sorted(kept)},
        package=package,
        revision=revision,
        table=plan.table,
        figure=plan.figure,
    )
    _check_paths({"command": note.command, "table": note.table, "figure": note.figure})
    note.write(folder)
    return folder / NAME


def unfit(row: Row) -> Iterator[str]:
    """Yield what keeps a row from being published, each in the middle of a sentence."""
    if row.status != "done":
        yield "failed, expected done; run its cell again"
        return
    if row.phantom:
        yield "was measured on phantom data, expected real images; run it without data.phantom"
    if not row.revision or row.revision == "unknown" or row.revision.endswith("-dirty"):
        yield (
            f"was made at revision {row.revision or 'unknown'}, expected a committed one; commit "
            "and renew it with rerun=stale"
        )
    if row.code.get("changed"):
        yield f"was made by changed files {row.code['changed']}, expected none; commit, rerun=stale"
    if "images.npz" not in row.files:
        yield "has no record of its images, expected one; renew it with rerun=true"
    try:
        _check_paths({"overrides": row.overrides, "config": row.config})
    except BundleError as error:
        yield str(error)


def _copied(rows: Sequence[Row], sweep: Sweep, folder: Path) -> list[str]:
    """Copy rows and their records, remove other files, and return the names."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for row in rows:
        store = RowStore(sweep.pictures[row.id].parent)
        for path in (store.path(row.id), store.per_image(row.id)):
            if not path.is_file():
                raise BundleError(f"{path} is missing; renew the row with rerun=true")
            if path.parent.resolve() != folder.resolve():
                shutil.copyfile(path, folder / path.name)
            kept.append(path.name)
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    return kept


def _check_paths(data: dict[str, Any]) -> None:
    """Raise if plain data names an absolute path."""
    for text in _texts(json.loads(json.dumps(data))):
        found = _ABSOLUTE.search(text)
        if found:
            raise BundleError(
                f"holds the path {found[1]!r}, expected none that only this machine has; run the "
                "sweep with relative paths, from the folder that they start in"
            )


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from (key, *_texts(value))
    elif isinstance(data, list):
        for value in data:
            yield from _texts(value)
