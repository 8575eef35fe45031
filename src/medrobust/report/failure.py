"""Why a cell failed, in one line."""

import re

_RAISED = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning)\b", re.MULTILINE)


def reason(error: str | None) -> str:
    """The exception at the end of a traceback, its message on one line.

    Args:
        error: traceback text, as `Row.error` holds it.

    Returns:
        Such as `RuntimeError: CUDA out of memory`; the last line when no exception is found.
    """
    text = (error or "").strip()
    raised = [match.start() for match in _RAISED.finditer(text)]
    if raised:
        return " ".join(text[raised[-1] :].split())
    return text.splitlines()[-1] if text else "no traceback"
