"""Checks of plain data in the `table` node of a config."""

from collections.abc import Mapping, Sequence
from typing import Any

SETTINGS = ("attack", "defense", "victim")
"""Parts whose settings can be axes; those of the victim are its training recipe."""


class TableError(ValueError):
    """Raised when a table cannot be built as configured."""


def known(where: str, node: Any, names: Sequence[str]) -> None:
    """Raise `TableError` if a node is no mapping or has a key that is not among `names`."""
    if not isinstance(node, Mapping):
        raise TableError(f"{where} is {node!r}, expected a mapping with keys from {list(names)}")
    odd = [key for key in node if key not in names]
    if odd:
        raise TableError(f"{where} has unknown keys {odd}; known are {list(names)}")


def texts(where: str, value: Any) -> tuple[str, ...]:
    """Return the items of a list as text; raise `TableError` if it is none."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TableError(f"{where} is {value!r}, expected a list")
    return tuple(str(item) for item in value)


def is_setting(key: str) -> bool:
    """Return whether a key is a setting of a part in `SETTINGS`, such as `attack.eps`."""
    parent, _, name = key.partition(".")
    return parent in SETTINGS and bool(name)
