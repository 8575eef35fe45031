"""Comparison of rows: which ones are alike, and whether one kept more than another beyond noise."""

import math
from collections.abc import Callable, Hashable, Sequence

from medrobust.report.table.label import comparable, flatten
from medrobust.result.flag import Flag
from medrobust.result.row import Row

NOISE = 2.0
"""Number of standard errors that a difference must exceed."""

ACCURACY = ("jaccard", "dice", "accuracy")
"""Metrics of what an attack left, the first that a row has."""

DETECTION = ("auroc_detection", *ACCURACY)
"""The same for an adaptive attacker, who aims at a detector's score."""

Flags = dict[str, list[Flag]]


def place(row: Row) -> tuple[Hashable, ...]:
    """Return what is attacked: data, victim, defense and seed."""
    names = (row.cell.get(axis, "") for axis in ("data", "model", "objective", "defense"))
    victim = row.fingerprints.get("victim", "")
    return (*names, victim, comparable(flatten(row.defense_variant)), row.seed)


def budget(row: Row) -> tuple[Hashable, ...]:
    """Return radius and norm."""
    settings = flatten(row.attack_variant)
    return tuple(comparable(settings.get(key)) for key in ("eps", "norm"))


def bounded(row: Row) -> bool:
    """Return whether the attack has a budget."""
    return flatten(row.attack_variant).get("eps") is not None


def groups(rows: Sequence[Row], key: Callable[[Row], Hashable]) -> list[list[Row]]:
    """Return the rows of each key, where there are several."""
    found: dict[Hashable, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return [group for group in found.values() if len(group) > 1]


def is_adaptive(row: Row) -> bool:
    """Return whether the attacker knew the defense, in any form of `threat=adaptive`."""
    return row.cell.get("threat", "").partition("/")[0] == "adaptive"


def name_of(row: Row) -> str:
    """Return threat and attack, such as `blackbox square`."""
    return " ".join(filter(None, (row.cell.get(axis) for axis in ("threat", "attack"))))


def metric_of(row: Row, names: Sequence[str] = ACCURACY) -> str | None:
    """Return the first of some metrics that a row has."""
    return next((name for name in names if name in row.metrics), None)


def measure(row: Row, names: Sequence[str] = ACCURACY) -> float | None:
    """Return the value of that metric."""
    name = metric_of(row, names)
    return None if name is None else row.metrics[name]


def higher(row: Row, other: Row, names: Sequence[str] = ACCURACY) -> bool:
    """Return whether `row` kept more than `other` by over two standard errors.

    The error of two accuracies is that of two independent proportions, and of other metrics, and of
    images in groups, that of their intervals. Both attacks met the same images, so the true error
    is mostly smaller.
    """
    name = metric_of(row, names)
    if name is None or name != metric_of(other, names) or not (row.n and other.n):
        return False
    difference = row.metrics[name] - other.metrics[name]
    if name == "accuracy" and not row.groups and not other.groups:
        pooled = (row.metrics[name] * row.n + other.metrics[name] * other.n) / (row.n + other.n)
        error = math.sqrt(pooled * (1 - pooled) * (1 / row.n + 1 / other.n))
    else:
        spans = [item.intervals.get(name) for item in (row, other)]
        if None in spans:
            return False
        error = math.hypot(*((span[1] - span[0]) / (2 * 1.96) for span in spans if span))
    return difference > NOISE * error and difference > 1e-9
