"""The flag `--plan` of a command line."""


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
    _, equals, value = words[place].partition("=")
    rest = words[place + 1 :]
    if not equals and rest and _is_number(rest[0]):
        value, rest = rest[0], rest[1:]
    elif not equals:
        return words[:place] + rest, None
    if not _is_number(value) or not 0 < float(value) < 50:
        raise ValueError(
            f"--plan={value}, expected the half-width of an interval in points, more than 0 and "
            "below 50, such as --plan=3"
        )
    return words[:place] + rest, float(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
