"""Protect text in CSV files from spreadsheet programs; cheap to import."""

from typing import Any

_FORMULA = "=+-@\t\r\n＝＋－＠"


def inert(value: Any) -> Any:
    """Return a value that a spreadsheet program does not take for a formula.

    Text that starts like a formula and is not a number gets a leading apostrophe; every other value
    is returned unchanged.
    """
    if not isinstance(value, str) or not value.startswith(tuple(_FORMULA)):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
