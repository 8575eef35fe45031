"""One of each kind by default, all of them in the slow suite.

A property that a whole table promises (every attack, every defense, every config) is tested by
default on one member of each kind, that is of each way through the code, and by `make test-slow`
on all. Every member still has one cheap default test that runs it. A test is slow only if other
default tests run each line that it runs.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pytest


def slow_unless(default: bool, *values: Any, id: str | None = None) -> Any:
    """One parameter set for `pytest.mark.parametrize`, slow unless it is to run by default."""
    return pytest.param(*values, id=id, marks=() if default else pytest.mark.slow)


def one_of_each(table: Mapping[str, Any] | Iterable[str], kept: Collection[str]) -> list[Any]:
    """Parameter sets of a whole table, of which only `kept` run by default.

    Args:
        table: value by id, or the values, which are then their own ids.
        kept: ids of one member of each kind.

    Raises:
        ValueError: an id of `kept` is not in the table, or it keeps nothing.
    """
    values = table if isinstance(table, Mapping) else {name: name for name in table}
    if not kept or set(kept) - set(values):
        raise ValueError(f"kept={sorted(kept)}, expected some of {sorted(values)}")
    return [slow_unless(name in kept, value, id=name) for name, value in values.items()]
