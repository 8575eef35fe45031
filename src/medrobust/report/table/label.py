"""Labels of a table's lines: the choice and the settings that distinguish it."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medrobust.number import NumberError, fraction
from medrobust.report.table.config import AXES, SEEDS
from medrobust.report.table.name import named
from medrobust.result.row import Row


@dataclass(frozen=True)
class Level:
    """One place on an axis.

    Attributes:
        axis: one of `AXES`, a setting such as `attack.eps`, or `OTHER`.
        choice: name of the config choice.
        label: name of the choice, with the settings that differ among its rows.
    """

    axis: str
    choice: str
    label: str


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted keys; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys whose values differ; `8/255` equals 0.0313725490."""
    keys = dict.fromkeys(key for item in settings for key in item)
    absent = object()
    return [
        key for key in keys if len({comparable(item.get(key, absent)) for item in settings}) > 1
    ]


def comparable(value: Any) -> Any:
    """Return a hashable value that is equal for equal settings."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(f"{fraction(value, 'setting', low=-1e12, high=1e12):.9g}")
        except NumberError:
            return value
    if isinstance(value, list | tuple):
        return tuple(comparable(item) for item in value)
    if isinstance(value, Mapping):
        return tuple(sorted((key, comparable(item)) for key, item in value.items()))
    return value if isinstance(value, str) or value is None else repr(value)


def readable(value: Any) -> str:
    """Return a readable setting: `8/255` for 0.03137…, a class without its module."""
    if isinstance(value, float):
        grey = value * 255
        odd = len(f"{value:.9g}") > 6  # 0.2 stays 0.2
        if odd and 0 < value < 1 and abs(grey - round(grey)) < 1e-6:
            return f"{round(grey)}/255"
        return f"{value:g}"
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return "+".join(readable(item) for item in value)
    return str(value)


def variant(row: Row, axis: str) -> Mapping[str, Any]:
    """Return the settings of the attack or defense, or the recipe of the victim's training.

    A failed row may have only the config of attack and defense, and no recipe.
    """
    if axis == "victim":
        settings = row.config.get("victim", {})
    else:
        settings = row.attack_variant if axis == "attack" else row.defense_variant
    return {
        key.removesuffix("_target_") + "class" if key.endswith("_target_") else key: value
        for key, value in flatten(settings).items()
    }


def choice_levels(rows: Sequence[Row], axis: str, merge: Container[str]) -> list[Level]:
    """Return the place of each row on one of `AXES`.

    Args:
        rows: rows of one table.
        axis: axis from `AXES`.
        merge: settings such as `defense.steps` that are not part of a label.
    """
    if axis in SEEDS:
        seeds = [axis_value(row, axis) for row in rows]
        return [Level(axis, seed, f"{axis.replace('_', ' ')} {seed}") for seed in seeds]
    choices = [row.cell.get(axis, "") for row in rows]
    labels = [named(axis, choice, {})[0] or "–" for choice in choices]
    if axis in ("attack", "defense"):
        for choice in dict.fromkeys(choices):
            members = [number for number, name in enumerate(choices) if name == choice]
            texts = _labels([rows[number] for number in members], axis, choice, merge)
            for number, text in zip(members, texts, strict=True):
                labels[number] = text
    meant: dict[str, set[str]] = {}
    for choice, label in zip(choices, labels, strict=True):
        meant.setdefault(label, set()).add(choice)
    return [
        Level(axis, choice, label if len(meant[label]) == 1 else f"{label} ({choice})")
        for choice, label in zip(choices, labels, strict=True)
    ]


def shared_name(rows: Sequence[Row], axis: str) -> str:
    """Return the name of a choice that all rows share, with the settings that they agree on."""
    choice = rows[0].cell.get(axis, "")
    if axis not in ("attack", "defense"):
        return named(axis, choice, {})[0]
    return named(axis, choice, _agreed(_known(rows, axis)))[0]


def _labels(rows: Sequence[Row], axis: str, choice: str, merge: Container[str]) -> list[str]:
    """Return the labels of the rows of one attack or defense."""
    known = _known(rows, axis)
    keys = [key for key in differing(known) if f"{axis}.{key}" not in merge]
    common = {key: text for key, text in _agreed(known).items() if not _in(merge, axis, key)}
    labels = []
    for row in rows:
        settings = variant(row, axis)
        own = {key: settings[key] for key in keys if key in settings}
        name, stated = named(axis, choice, common | {key: _text(own[key]) for key in own})
        rest = (setting(key, own[key]) for key in own if key not in stated)
        labels.append(" ".join([name or "–", *rest]))
    return labels


def _known(rows: Sequence[Row], axis: str) -> list[Mapping[str, Any]]:
    """Return the settings of finished rows if there are any.

    A failed row has only its config, which may differ from the object's settings.
    """
    return [variant(row, axis) for row in rows if row.status == "done"] or [
        variant(row, axis) for row in rows
    ]


def _agreed(settings: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the settings that are equal in all, as text."""
    unlike = set(differing(settings))
    return {key: _text(value) for key, value in settings[0].items() if key not in unlike}


def _text(value: Any) -> str:
    return readable(comparable(value))


def _in(merge: Container[str], axis: str, key: str) -> bool:
    return f"{axis}.{key}" in merge or f"{axis}.{key.removesuffix('.class')}" in merge


def setting(key: str, value: Any) -> str:
    """Return a setting with its name, such as `eps=8/255`; an object is shown by its class."""
    if key.rpartition(".")[2] == "class":
        name = str(value).rpartition(".")[2]
        owner = key.rpartition(".")[0].rpartition(".")[2]
        return f"{owner}={name}" if owner else name
    return f"{key.rpartition('.')[2]}={readable(value)}"


def varying(rows: Sequence[Row]) -> list[str]:
    """Return the axes on which the rows differ."""
    return [axis for axis in AXES if len({axis_value(row, axis) for row in rows}) > 1]


def axis_value(row: Row, axis: str) -> str:
    """Return a row's place on one of `AXES` as text; empty where it has none."""
    if axis == "seed":
        return str(row.seed)
    if axis == "victim_seed":
        return str(row.config.get(axis, ""))
    return row.cell.get(axis, "")
