"""Compare the code that made a row with today's."""

from collections.abc import Sequence

from medrobust.result.flag import Flag, flag
from medrobust.result.row import Row


def stale(row: Row, today: str) -> bool:
    """Return whether other code of this package computed a row.

    Args:
        row: finished or failed; a failed one has no number, and is never stale.
        today: `package_digest()`.
    """
    return row.code.get("package", today) != today


def code_flags(row: Row, today: str) -> list[Flag]:
    """Return the flag of a row that other code made, if it is one."""
    return [flag("other_code")] if stale(row, today) else []


def unsourced_flags(names: Sequence[str]) -> list[Flag]:
    """Return the flag of a row that code without source had a part in."""
    return [flag("no_source", names=", ".join(names))] if names else []
