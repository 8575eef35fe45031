"""Find the files of a cache that are no longer needed, and remove them."""

import time
from pathlib import Path
from typing import NamedTuple

from medrobust.cache.inventory import Item, References, items
from medrobust.cache.tensors import DamagedError, TensorCache

_ABANDONED = 3600.0  # seconds after which a partial file is assumed to have no writer


class Removal(NamedTuple):
    """File to remove, with the reason."""

    item: Item
    why: str


def damage(cache: TensorCache, found: list[Item]) -> dict[str, str]:
    """Return a message for each damaged file, by key, after reading all files."""
    wrong = {}
    for item in found:
        try:
            cache.read(item.key)
        except DamagedError as error:
            wrong[item.key] = str(error)
    return wrong


def prunable(
    cache: TensorCache, known: References, *, older_than: float, referenced: bool
) -> list[Removal]:
    """Return the files to remove: damaged ones, and those that no row refers to.

    All files of answers are kept as long as some row does not name its answers.

    Args:
        cache: the cache.
        known: references of the rows.
        older_than: age in seconds; younger intact files are kept.
        referenced: also remove files that rows refer to.
    """
    found = items(cache, known)
    wrong = damage(cache, found)
    gone = []
    for item in found:
        if item.key in wrong:
            gone.append(Removal(item, "damaged"))
        elif item.seconds < older_than:
            continue
        elif referenced:
            gone.append(Removal(item, "all" if item.rows else "no row refers to it"))
        elif not item.rows and not (known.silent and item.kind == "answers"):
            gone.append(Removal(item, "no row refers to it"))
    return gone


def remove(cache: TensorCache, gone: list[Removal]) -> None:
    """Remove files and their locks; no process may use the cache meanwhile."""
    for item, _ in gone:
        cache.path(item.key).unlink(missing_ok=True)
        cache.lock_path(item.key).unlink(missing_ok=True)


def leftovers(folder: Path) -> list[Path]:
    """Return the partial files of killed processes."""
    oldest = time.time() - _ABANDONED
    return [path for path in folder.glob("??/.*.safetensors.*") if path.stat().st_mtime < oldest]
