"""Measure a row and print the value in its unit."""

from medrobust.metric.definition import Unit
from medrobust.result.row import Row

OF_TIME = ("seconds_per_image", "training_hours", "detector_overhead")
"""Metrics derived from a row's seconds; a row may lack them."""


def measure(row: Row, name: str) -> float | None:
    """Return a measure of a finished row, None if it has none.

    Args:
        row: the row.
        name: `seconds_per_image` (inference time of the deployed system per image),
            `training_hours` (of victim and defense), `detector_overhead` (time of a detector
            without its Cushion, relative to the victim's inference), or a metric.
    """
    if row.status != "done":
        return None
    if name == "seconds_per_image":
        return row.seconds.get("per_image")
    if name == "training_hours":
        return row.seconds["training"] / 3600 if "training" in row.seconds else None
    if name == "detector_overhead":
        plain, own = (row.seconds.get(f"{who}_per_image") for who in ("victim", "detector"))
        return own / plain if own is not None and plain else None
    return row.metrics.get(name)


def printed(value: float, unit: Unit, *, percent: bool) -> str:
    """Return a value as tables print it, with an ASCII minus.

    Proportions have one decimal in percent and three otherwise, numbers two, counts none; times
    have three digits.

    Args:
        value: measured value.
        unit: unit of the metric.
        percent: show a proportion times 100.
    """
    if unit == "proportion" and percent:
        return f"{100 * value:.1f}"
    if unit in ("proportion", "ratio"):
        return f"{value:.3f}"
    if unit == "number":
        return f"{value:.2f}"
    if unit == "count":
        return f"{value:.0f}"
    size = abs(value)
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if size >= 0.01 else f"{value:.2g}"
