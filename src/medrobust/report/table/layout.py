"""Layout of a table: the place of each row on the axes."""

from collections.abc import Iterable, Iterator, Sequence

from medrobust.report.table.label import Level, choice_levels, differing, flatten, setting
from medrobust.report.table.node import TableError
from medrobust.report.table.setting import ABSENT, has_setting, setting_levels
from medrobust.result.row import Row

Place = tuple[Level, ...]

OTHER = "config"
"""Axis for settings that differ but belong to no named axis (a split, quantisation, …)."""


def places(
    rows: Sequence[Row],
    axes: Sequence[str],
    merge: Iterable[str],
    named: Sequence[str],
    over: Sequence[str] = (),
) -> list[list[Level]]:
    """Return the place of each row on each axis.

    Args:
        rows: rows of one table, in order.
        axes: names from `AXES`, or settings such as `attack.eps`, without the axis `OTHER`.
        merge: settings such as `defense.steps` that are not part of a label, like those of `axes`.
        named: setting axes whose labels include the name (`eps=8/255`).
        over: keys of a row's config in which rows of one place may differ.

    Returns:
        Levels of each row, one per axis; one more, on `OTHER`, if the axes do not distinguish all
        rows.

    Raises:
        TableError: two rows have the same config.
    """
    unsaid = {*merge, *over, *axes, *(f"{axis}.class" for axis in axes)}
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
        keys |= dict.fromkeys(key for key in apart if key not in over)
    if keys:
        for place, config in zip(found, configs, strict=True):
            text = " ".join(setting(key, config[key]) for key in keys if key in config)
            place.append(Level(OTHER, text, text or ABSENT))
    return found


def spread(
    rows: Sequence[Row], side: Sequence[Place], top: Sequence[Place], axes: Sequence[str]
) -> Iterator[tuple[Row, Place, Place]]:
    """Repeat rows without a setting in each line that differs only in that setting.

    Clean images have no eps: with `axes=["attack.eps"]` they appear in the lines of 2/255 and
    6/255 if the same defense has such lines.

    Args:
        rows: rows of one table.
        side: place of each row on the row axes.
        top: place of each row on the column axes.
        axes: row axes that are settings.

    Yields:
        Row, line and column; a row may occur several times.
    """
    for axis in axes:
        at = next(number for number, level in enumerate(side[0]) if level.axis == axis)
        has = [has_setting(row, axis) for row in rows]
        lines: dict[Place, dict[Level, None]] = {}
        for place, known in zip(side, has, strict=True):
            if known:
                lines.setdefault((*place[:at], *place[at + 1 :]), {})[place[at]] = None
        taken = {
            (down, across) for down, across, known in zip(side, top, has, strict=True) if known
        }
        placed = []
        for row, down, across, known in zip(rows, side, top, has, strict=True):
            found = () if known else tuple(lines.get((*down[:at], *down[at + 1 :]), ()))
            spots = [(*down[:at], level, *down[at + 1 :]) for level in found]
            free = [spot for spot in spots if (spot, across) not in taken] or [down]
            placed += [(row, spot, across) for spot in free]
        rows, side, top = zip(*placed, strict=True)
    yield from zip(rows, side, top, strict=True)
