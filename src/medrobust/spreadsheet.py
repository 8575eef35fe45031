"""Text in CSV files that spreadsheet programs open. Cheap to import."""

from typing import Any

_FORMULA = "=+-@\t\r\n＝＋－＠"


def inert(value: Any) -> Any:
    """Return a value that a spreadsheet program takes for no formula.

    Text that begins like one, and is no number, gets an apostrophe before it; all else is returned
    as it is.
    """
    if not isinstance(value, str) or not value.startswith(tuple(_FORMULA)):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
