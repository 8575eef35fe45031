"""The flag `--plan` of a command line."""

import re


def taken(words: list[str]) -> tuple[list[str], float | None] | None:
    """Take `--plan`, `--plan 3` or `--plan=3` out of a command line.

    Args:
        words: the command line without the program.

    Returns:
        The other words, and the half-width wanted in points, None without one; None if there is
        no such flag.

    Raises:
        ValueError: the half-width is no number of points between 0 and 50.
    """
    place = next((n for n, word in enumerate(words) if word.partition("=")[0] == "--plan"), None)
    if place is None:
        return None
    before, after = words[:place], words[place + 1 :]
    _, equals, value = words[place].partition("=")
    if not equals:
        if not after or not _is_number(after[0]):
            return before + after, None
        value, *after = after
    if not _is_number(value) or not 0 < float(value) < 50:
        raise ValueError(
            f"--plan={value}, expected the half-width of an interval in points, more than 0 and "
            "below 50, such as --plan=3"
        )
    return before + after, float(value)


def without(line: str) -> str:
    """Return a line that a shell completes, which Hydra reads, without the flag."""
    return re.sub(r"(?<!\S)--plan(=\S*|\s+[\d.]+)?\s", "", line)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
