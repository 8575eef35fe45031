"""Tell whether a row is what today's code would compute."""

from collections.abc import Sequence

from medrobust.result.row import Row

OTHER_CODE = "made by other code"
"""Beginning of the flag of a row that other code computed."""


def stale(row: Row, today: str) -> bool:
    """Tell whether other code of this package computed a row.

    Args:
        row: finished or failed; a failed one has no number, and is never stale.
        today: `package_digest()`.
    """
    return row.code.get("package", today) != today


def code_flags(row: Row, today: str) -> list[str]:
    """Return what a reader should know of the code that made a row, in plain words."""
    return [f"{OTHER_CODE} than today's; rerun=stale renews it"] if stale(row, today) else []


def unsourced_flags(names: Sequence[str]) -> list[str]:
    """Return the flag of a row that code without source had a part in."""
    said = ", ".join(names)
    return [f"code without source, so never replayed from the cache: {said}"] if names else []
