"""Compare a sweep that was run again with the bundle of its rows."""

import math
from collections.abc import Iterator, Mapping

from medrobust.metric.definition import definition
from medrobust.report.bundle.bundle import Bundle
from medrobust.report.bundle.pack import unfit
from medrobust.report.sweep import Sweep, records_of
from medrobust.result.row import Row

TOLERANCE = 0.02
"""Largest difference of a proportion; rounding on another processor moves few images."""


def inspect(bundle: Bundle) -> list[str]:
    """Return what is wrong with a bundle, one line each; an empty list for a sound one.

    Every row must be fit to be published and made by the code that the note names, and its accuracy
    must be the mean of the record of its images. Digests were checked when it was read.
    """
    read = records_of(bundle.sweep)
    found = []
    for row in bundle.sweep.rows:
        name = _name(row)
        found += [f"{name} {problem}" for problem in unfit(row)]
        if (row.code.get("package"), row.revision) != (bundle.note.package, bundle.note.revision):
            found.append(
                f"{name} was made by other code ({row.revision}), expected {bundle.note.revision}"
            )
        record = read(row)
        if record is None:
            found.append(f"{name} has no sound record of its images")
            continue
        accuracy = row.metrics.get("accuracy")
        if accuracy is not None and "correct" in record.columns:
            mean = float(record.columns["correct"].mean())
            if abs(mean - accuracy) > 1e-6:
                found.append(
                    f"{name} says accuracy {accuracy:.4f}, expected {mean:.4f}, the mean over its "
                    "images"
                )
    return found


def compare(sweep: Sweep, bundle: Bundle, tolerance: float = TOLERANCE) -> list[str]:
    """Return how a sweep differs from a bundle, one line each; an empty list if it does not.

    Args:
        sweep: the sweep that was run again.
        bundle: the published rows.
        tolerance: largest difference of a proportion, and of other values relative to theirs.
    """
    ours = {row.id: row for row in sweep.rows if row.status == "done"}
    lines: list[str] = []
    for row in bundle.sweep.rows:
        if row.id in ours:
            lines += _apart(row, ours[row.id], tolerance)
        else:
            lines.append(f"{_name(row)} is missing{_why(row, ours)}")
    return lines


def _apart(row: Row, other: Row, tolerance: float) -> Iterator[str]:
    for name, value in row.metrics.items():
        unit = definition(name)
        if unit is not None and unit.unit in ("seconds", "hours"):
            continue
        mine = other.metrics.get(name, math.nan)
        scale = 1.0 if unit is not None and unit.unit == "proportion" else max(1.0, abs(value))
        if not abs(mine - value) <= tolerance * scale:
            yield (
                f"{_name(row)}: {name} is {mine:.4f}, expected {value:.4f} within "
                f"{tolerance * scale:g}"
            )


def _why(row: Row, ours: Mapping[str, Row]) -> str:
    """Return which fingerprints of the row of the same cell differ, if there is one."""
    for other in ours.values():
        same = (other.cell, other.attack_variant, other.defense_variant, other.n, other.seed)
        if same == (row.cell, row.attack_variant, row.defense_variant, row.n, row.seed):
            names = sorted({*row.fingerprints, *other.fingerprints})
            keys = [n for n in names if other.fingerprints.get(n) != row.fingerprints.get(n)]
            return f": row {other.id[:12]} is of the same cell, but has another {', '.join(keys)}"
    return ", and no row is of its cell"


def _name(row: Row) -> str:
    cell = row.cell
    shown = " ".join(f"{axis}={cell[axis]}" for axis in ("threat", "attack", "defense"))
    return f"row {row.id[:12]} ({shown})"
