"""Inventory of a cache, and the rows that refer to its files."""

import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from medrobust.cache.tensors import TensorCache
from medrobust.result.row import Row
from medrobust.result.store import RowStore

KEYS = re.compile(r"adversarial_set|((clean|validation)_)?answers(_[1-9]\d*)?")
"""Names in `Row.fingerprints` that are keys of the cache; the first draw has no number."""

_KINDS = {"images": "adversarial set", "label": "answers"}


@dataclass(frozen=True)
class References:
    """References from rows to files of the cache.

    Attributes:
        rows: key -> rows that refer to it.
        silent: number of finished rows of an earlier version, which name their adversarial set but
            not their answers.
    """

    rows: Mapping[str, list[Row]] = field(default_factory=dict)
    silent: int = 0


@dataclass(frozen=True)
class Item:
    """One file of the cache.

    Attributes:
        key: key of the file.
        kind: `adversarial set`, `answers`, or `unreadable`.
        size: size in bytes.
        seconds: age in seconds.
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
    """Return the references of the rows in some folders.

    Args:
        folders: folders of rows.
        damaged: ids of damaged rows to skip, by folder.

    Raises:
        FileNotFoundError: a folder does not exist, so all files would seem unreferenced.
        RowError: a row is damaged, so its references are unknown.
    """
    found: defaultdict[str, list[Row]] = defaultdict(list)
    silent = 0
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder of rows; name it with --rows FOLDER")
        store, out = RowStore(folder), (damaged or {}).get(folder, ())
        for row in store.rows(row_id for row_id in store.ids() if row_id not in out):
            named = {key for name, key in row.fingerprints.items() if KEYS.fullmatch(name)}
            for key in named:
                found[key].append(row)
            unsourced = None in row.code.get("outside", {}).values()
            silent += row.status == "done" and "answers" not in row.fingerprints and not unsourced
    return References(found, silent)


def items(cache: TensorCache, known: References) -> list[Item]:
    """Return the files of the cache, newest first, reading only their headers."""
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
