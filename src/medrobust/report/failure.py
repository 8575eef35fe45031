"""Reason of a cell's failure in one line."""

import re

_RAISED = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning)\b", re.MULTILINE)


def reason(error: str | None) -> str:
    """Return the exception at the end of a traceback, with its message on one line.

    Args:
        error: traceback text, as `Row.error` holds it.

    Returns:
        Text such as `RuntimeError: CUDA out of memory`; the last line if no exception is found.
    """
    text = (error or "").strip()
    raised = [match.start() for match in _RAISED.finditer(text)]
    if raised:
        return " ".join(text[raised[-1] :].split())
    return text.splitlines()[-1] if text else "no traceback"
