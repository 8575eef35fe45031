"""What lies in a cache, and which rows refer to it."""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from medrobust.cache.tensors import TensorCache
from medrobust.result.row import Row
from medrobust.result.store import RowStore

KEYS = ("adversarial_set", "clean_answers", "answers")
"""Names in `Row.fingerprints` that are keys of the cache."""

_KINDS = {"images": "adversarial set", "label": "answers"}


@dataclass(frozen=True)
class References:
    """What rows refer to.

    Attributes:
        rows: key -> rows that name it.
        silent: finished rows of an earlier version, which name their adversarial set and not
            their answers.
    """

    rows: Mapping[str, list[Row]] = field(default_factory=dict)
    silent: int = 0


@dataclass(frozen=True)
class Item:
    """One file of the cache.

    Attributes:
        key: its key.
        kind: `adversarial set`, `answers`, or `unreadable`.
        size: bytes.
        seconds: since it was written.
        rows: rows that refer to it.
    """

    key: str
    kind: str
    size: int
    seconds: float
    rows: tuple[Row, ...]


def references(
    folders: Iterable[Path], damaged: Mapping[Path, Collection[str]] | None = None
) -> References:
    """What the rows in these folders refer to.

    Args:
        folders: of rows.
        damaged: ids, by folder, that are left out.

    Raises:
        FileNotFoundError: no such folder: then nothing would seem to be referred to.
        RowError: a damaged row, whose references cannot be known.
    """
    found: defaultdict[str, list[Row]] = defaultdict(list)
    silent = 0
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder of rows; name it with --rows FOLDER")
        store, out = RowStore(folder), (damaged or {}).get(folder, ())
        for row in store.rows(row_id for row_id in store.ids() if row_id not in out):
            named = {row.fingerprints[name] for name in KEYS if name in row.fingerprints}
            for key in named:
                found[key].append(row)
            unsourced = None in row.code.get("outside", {}).values()
            silent += row.status == "done" and "answers" not in row.fingerprints and not unsourced
    return References(found, silent)


def items(cache: TensorCache, known: References) -> list[Item]:
    """The cache's files, newest first. Reads headers only."""
    now = time.time()
    found = []
    for key in cache.keys():  # noqa: SIM118
        path = cache.path(key)
        about = path.stat()
        rows = tuple(known.rows.get(key, ()))
        found.append(Item(key, _kind(path), about.st_size, now - about.st_mtime, rows))
    return sorted(found, key=lambda item: item.seconds)


def _kind(path: Path) -> str:
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
    except (SafetensorError, OSError):
        return "unreadable"
    return next((kind for name, kind in _KINDS.items() if name in names), "other")
