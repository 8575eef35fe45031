"""Points of a line: means over attacks, and over seeds."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from medrobust.report.figure.core.base import FigureError
from medrobust.report.table.config import OVER, SEEDS
from medrobust.report.table.label import comparable, differing, flatten, readable
from medrobust.report.table.seeds import mean_sd
from medrobust.result.row import Row

Runs = dict[str, dict[Hashable, Row]]
"""Rows at one place of a line: attack -> seeds -> row."""


@dataclass(frozen=True)
class Point:
    """A point of a line.

    Attributes:
        x: value of the setting.
        value: mean of the metric over the attacks, and over the seeds.
        low: lower end of its band, None without one. For a single run it is the mean of the lower
            ends of the attacks' intervals, for several seeds the mean minus a standard deviation.
        high: upper end, likewise.
        seeds: number of seeds.
    """

    x: float
    value: float
    low: float | None
    high: float | None
    seeds: int = 1


@dataclass(frozen=True)
class Line:
    """A line of a curve.

    Attributes:
        points: points by rising x, the clean one first.
        attacks: attacks that it is a mean over.
        clean: whether its first point is the clean value.
        also: other settings that differ between its points.
    """

    points: list[Point]
    attacks: tuple[str, ...]
    clean: bool = False
    also: tuple[str, ...] = ()


def but_seeds(row: Row, over: Sequence[str]) -> Hashable:
    """Return a row's config without the seeds that lines are means over.

    The recipe of the victim is left out, which a failed row may not know.
    """
    seeds = {key for name in over for key in OVER[name]}
    return frozenset(
        (key, comparable(value))
        for key, value in flatten(row.config).items()
        if key not in seeds and not key.startswith("victim.")
    )


def unfinished(rows: Iterable[Row], over: Sequence[str]) -> frozenset[Hashable]:
    """Return the configs in which a seed is not finished, for means that must not pass over it.

    Args:
        rows: rows without a value.
        over: names from `OVER`.
    """
    return frozenset(but_seeds(row, over) for row in rows) if over else frozenset()


def seeds_of(row: Row, over: Sequence[str]) -> Hashable:
    """Return the seeds of a row that lines are means over.

    Args:
        row: a row.
        over: names from `OVER`.
    """
    config = flatten(row.config)
    return tuple(comparable(config.get(key)) for name in over for key in OVER[name])


def put(
    runs: Runs,
    attack: str,
    seeds: Hashable,
    row: Row,
    place: str,
    fix: str = "draw them from sweeps of their own",
) -> None:
    """Add a row to the others at one place.

    Args:
        runs: the others.
        attack: name of the row's attack.
        seeds: seeds of the row, from `seeds_of`.
        row: row to add.
        place: description of the place, for errors.
        fix: what sets rows apart that differ in more than a seed.

    Raises:
        FigureError: another row of this attack and these seeds is there.
    """
    other = runs.setdefault(attack, {}).setdefault(seeds, row)
    if other is row:
        return
    differ = differing([flatten(row.config), flatten(other.config)])
    fixes = [name for name, keys in OVER.items() if set(differ) <= set(keys)]
    if fixes:
        fix = f"table.over=[{fixes[0]}] draws the mean over them"
    raise FigureError(
        f"two rows of {attack} stand at {place}: they differ in {', '.join(differ)}; {fix}"
    )


def apart(axes: Sequence[str], key: Sequence[str], others: Iterable[Sequence[str]]) -> str:
    """Return the names of a group on the axes where the groups differ, such as `vgg16, seed 1`.

    Args:
        axes: names of the axes.
        key: place of the group on each.
        others: places of all groups.
    """
    differ = [len(set(column)) > 1 for column in zip(*others, strict=True)]
    return ", ".join(
        f"{axis.replace('_', ' ')} {text}" if axis in SEEDS else text
        for axis, text, wanted in zip(axes, key, differ, strict=True)
        if wanted and text
    )


def complete(
    runs: Mapping[str, Mapping[Hashable, Row]], attacks: Sequence[str], seeds: Sequence[Hashable]
) -> bool:
    """Return whether every attack has a row for every seed."""
    return all(one in runs.get(attack, {}) for attack in attacks for one in seeds)


def point(
    x: float,
    runs: Mapping[str, Mapping[Hashable, Row]],
    attacks: Sequence[str],
    seeds: Sequence[Hashable],
    metric: str,
    *,
    spread: bool,
) -> Point:
    """Return the mean over attacks and seeds, with its band.

    Args:
        x: value of the setting.
        runs: rows at this value.
        attacks: attacks to average over.
        seeds: seeds to average over.
        metric: key of `Row.metrics`.
        spread: take the standard deviation over seeds for the band, and not the interval.
    """
    parts = [[runs[attack][one] for attack in attacks] for one in seeds]
    means = [sum(row.metrics[metric] for row in part) / len(part) for part in parts]
    value, sd = mean_sd(means)
    if spread:
        low, high = (None, None) if sd is None else (value - sd, value + sd)
        return Point(x, value, low, high, len(seeds))
    (rows,) = parts
    spans = [span for row in rows if (span := row.intervals.get(metric)) is not None]
    if len(spans) < len(rows):
        return Point(x, value, None, None)
    low, high = (sum(span[end] for span in spans) / len(spans) for end in (0, 1))
    return Point(x, value, low, high)


def clean_point(
    places: Mapping[float, Runs],
    attacks: Sequence[str],
    seeds: Sequence[Hashable],
    metric: str,
    *,
    spread: bool,
) -> Point | None:
    """Return the clean value as the point at ε = 0; None if there is no single one.

    Rows have several clean values where the budget also changes the defended model, such as one
    that was trained against the attack.

    Args:
        places: ε -> rows of a line.
        attacks: attacks that the line averages over.
        seeds: seeds of the line.
        metric: metric of the line; its clean counterpart is `clean_<metric>`.
        spread: as for `point`.

    Raises:
        FigureError: rows of one line were evaluated on different images.
    """
    name = f"clean_{metric}"
    for one in seeds:
        rows = [runs[a][one] for runs in places.values() for a in attacks if one in runs.get(a, {})]
        same_images(rows)
        if len({row.metrics.get(name) for row in rows}) != 1 or name not in rows[0].metrics:
            return None
    first = next(iter(places.values()))
    whole = first if complete(first, attacks, seeds) else {}
    return point(0.0, whole, attacks, seeds, name, spread=spread) if whole else None


def same_images(rows: Sequence[Row]) -> None:
    """Raise `FigureError` if rows of one line were evaluated on different images."""
    if len({(row.n, row.fingerprints.get("images")) for row in rows}) > 1:
        counts = ", ".join(dict.fromkeys(readable(row.n) for row in rows))
        raise FigureError(
            f"rows of one line were evaluated on different images (n = {counts}), expected the "
            "same for all; evaluate them with one data.limit_test"
        )
