"""Which files of a cache may go, and removing them."""

import time
from pathlib import Path
from typing import NamedTuple

from medrobust.cache.inventory import Item, References, items
from medrobust.cache.tensors import DamagedError, TensorCache

_ABANDONED = 3600.0  # seconds after which a half-written file has no writer any more


class Doomed(NamedTuple):
    """A file to remove, and why."""

    item: Item
    why: str


def damage(cache: TensorCache, found: list[Item]) -> dict[str, str]:
    """What is wrong with each damaged file, by key; reads every byte."""
    wrong = {}
    for item in found:
        try:
            cache.read(item.key)
        except DamagedError as error:
            wrong[item.key] = str(error)
    return wrong


def prunable(
    cache: TensorCache, known: References, *, older_than: float, referenced: bool
) -> list[Doomed]:
    """What may go: damaged files, and files that no row refers to.

    While a row does not name its answers, every file of answers may be its own, and stays.

    Args:
        cache: to look at.
        known: what rows refer to.
        older_than: sound files younger than this many seconds stay.
        referenced: also what rows refer to.
    """
    found = items(cache, known)
    wrong = damage(cache, found)
    gone = []
    for item in found:
        if item.key in wrong:
            gone.append(Doomed(item, "damaged"))
        elif item.seconds < older_than:
            continue
        elif referenced:
            gone.append(Doomed(item, "all" if item.rows else "no row refers to it"))
        elif not item.rows and not (known.silent and item.kind == "answers"):
            gone.append(Doomed(item, "no row refers to it"))
    return gone


def remove(cache: TensorCache, gone: list[Doomed]) -> None:
    """Remove files with their locks; to be called while nobody uses the cache."""
    for item, _ in gone:
        cache.path(item.key).unlink(missing_ok=True)
        cache.lock_path(item.key).unlink(missing_ok=True)


def leftovers(folder: Path) -> list[Path]:
    """Half-written files of processes that were killed."""
    oldest = time.time() - _ABANDONED
    return [path for path in folder.glob("??/.*.safetensors.*") if path.stat().st_mtime < oldest]
