"""Where each row of a table stands."""

from collections.abc import Iterable, Sequence

from medrobust.report.config import TableError
from medrobust.report.label import Level, choice_levels, differing, flatten, setting
from medrobust.report.setting import setting_levels
from medrobust.result.row import Row

OTHER = "config"
"""Axis for what tells two rows apart when no named axis does (a split, quantisation, …)."""


def places(
    rows: Sequence[Row], axes: Sequence[str], merge: Iterable[str], named: Sequence[str]
) -> list[list[Level]]:
    """The place of each row on each axis.

    Args:
        rows: of one table, in order.
        axes: from `AXES`, or settings such as `attack.eps`, without the axis `OTHER`.
        merge: settings such as `defense.steps` that make no label; nor do those that are axes.
        named: axes that are settings, whose labels say their name (`eps=8/255`).

    Returns:
        For each row its levels, one per axis; one more, on `OTHER`, when the axes do not tell
        all rows apart.

    Raises:
        TableError: two rows have the same config.
    """
    unsaid = {*merge, *axes, *(f"{axis}.class" for axis in axes)}
    columns = [
        setting_levels(rows, axes[: at + 1], named)
        if "." in axis
        else choice_levels(rows, axis, unsaid)
        for at, axis in enumerate(axes)
    ]
    found = [list(place) for place in zip(*columns, strict=True)]
    groups: dict[tuple[Level, ...], list[int]] = {}
    for number, place in enumerate(found):
        groups.setdefault(tuple(place), []).append(number)
    configs = [flatten(row.config) for row in rows]
    keys: dict[str, None] = {}
    for members in groups.values():
        apart = differing([configs[number] for number in members])
        if len(members) > 1 and not apart:
            names = ", ".join(rows[number].id for number in members)
            raise TableError(f"rows {names} have the same config; give the table one of them")
        keys |= dict.fromkeys(apart)
    if keys:
        for place, config in zip(found, configs, strict=True):
            text = " ".join(setting(key, config[key]) for key in keys if key in config)
            place.append(Level(OTHER, text, text))
    return found
