"""Print text of rows and configs on one line."""

import re

_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(text: str) -> str:
    """Return the text with a space for each line break or other control character."""
    return _BREAKS.sub(" ", text)
