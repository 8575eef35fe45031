"""Digest of all code of this package that a row's numbers can depend on."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from medrobust.code.digest import linked_digest
from medrobust.code.module import PACKAGE, Source, find

APART = frozenset(
    {"__main__", "cli", "launcher", "logger", "planning", "report"}
    | {f"cache.{name}" for name in ("command", "inventory", "prune")}
)
"""Packages and modules that run before a cell or on finished rows, and compute no number."""


def package_digest() -> str:
    """Return the SHA-256 of the package's code except `APART`, 64 hex digits.

    It is independent of comments and of file locations. A loaded module counts with the source
    that it runs, even if its file was edited since.
    """
    return _digest(tuple(_stamps(Path(__file__).parents[1])))


def is_apart(parts: Sequence[str]) -> bool:
    """Return whether a module, given by the parts of its name in the package, is left out."""
    return any(".".join(parts[:length]) in APART for length in (1, 2))


def _stamps(root: Path) -> list[tuple[str, int, int]]:
    """List the package's files with stamps that change when a file does."""
    found, depth = [], len(root.parts)
    for folder, folders, files in os.walk(root):
        folders.sort()
        inside = Path(folder).parts[depth:]
        for name in sorted(files):
            parts = (*inside, name.removesuffix(".py"))
            if name.endswith(".py") and not is_apart(parts):
                stat = os.stat(f"{folder}/{name}")  # noqa: PTH116  # for each file at each cell
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                found.append((".".join((PACKAGE, *parts)), stat.st_mtime_ns, stat.st_size))
    return found


@lru_cache(maxsize=1)
def _digest(stamps: tuple[tuple[str, int, int], ...]) -> str:
    sources = [source for name, _, _ in stamps if (source := find(name)) is not None]
    return linked_digest([source for source in sources if _says_something(source)])


def _says_something(source: Source) -> bool:
    return bool(source.text.strip())
