"""Parse numbers as written in configs: `8/255`, `0.03`, `5e-5`."""

import math
from numbers import Integral


class NumberError(ValueError):
    """Raised when a configured number is invalid."""


def fraction(
    value: float | int | str,
    name: str,
    *,
    low: float = 0.0,
    high: float = 1.0,
    above: bool = False,
) -> float:
    """Parse a number or a fraction and check its range.

    Args:
        value: a number, or text such as `8/255` or `0.1`.
        name: its name in the config, for the error.
        low: smallest value allowed.
        high: largest value allowed.
        above: whether the value must be strictly above `low`.

    Returns:
        The value as a float.

    Raises:
        NumberError: the value is not a number, not finite, or out of range.
    """
    bound = "(" if above else "["
    expected = f"expected a number or a fraction such as 8/255 in {bound}{low:g}, {high:g}]"
    parts = str(value).split("/")
    try:
        if isinstance(value, bool) or len(parts) > 2:
            raise ValueError
        number = float(parts[0]) / float(parts[1]) if len(parts) == 2 else float(parts[0])
    except (ValueError, ZeroDivisionError):
        raise NumberError(f"{name}={value!r} is not a number; {expected}") from None
    if not math.isfinite(number) or not low <= number <= high or (above and number == low):
        raise NumberError(f"{name}={value} is out of range; {expected}")
    return number


def whole(value: int | Integral, name: str, *, low: int = 0, high: int | None = None) -> int:
    """Check an integer's range.

    Args:
        value: the integer, Python's or NumPy's.
        name: its name in the config, for the error.
        low: smallest value allowed.
        high: largest value allowed, or None.

    Returns:
        The value as an `int`.

    Raises:
        NumberError: the value is not an integer, or out of range.
    """
    upper = "" if high is None else f" and at most {high}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise NumberError(
            f"{name}={value!r} is not an integer; expected one whole number, at least {low}{upper}"
        )
    number = int(value)
    if number < low or (high is not None and number > high):
        raise NumberError(f"{name}={value} is out of range; expected at least {low}{upper}")
    return number
