"""Tell whether a row is what today's code would compute."""

from collections.abc import Sequence

from medrobust.code.package import package_digest
from medrobust.result.row import Row

OTHER_CODE = "made by other code"
"""How the flag of a row begins that is not known to be what today's code computes."""


def stale(row: Row) -> bool:
    """Tell whether other code of this package than today's computed a row."""
    return row.code.get("package", package_digest()) != package_digest()


def code_flags(row: Row) -> list[str]:
    """Return what a reader should know of the code that made a row, in plain words."""
    return [f"{OTHER_CODE} than today's; rerun=stale renews it"] if stale(row) else []


def unsourced_flags(names: Sequence[str]) -> list[str]:
    """Return the flag of a row that code without source had a part in."""
    said = ", ".join(names)
    return [f"code without source, so never replayed from the cache: {said}"] if names else []
