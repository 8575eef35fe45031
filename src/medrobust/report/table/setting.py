"""Settings as axes of a table: `attack.eps`, `defense.noise`."""

from collections.abc import Sequence

from medrobust.report.table.label import Level, comparable, readable, variant
from medrobust.report.table.name import PARTS, named
from medrobust.result.row import Row

ABSENT = "–"


def setting_levels(rows: Sequence[Row], axes: Sequence[str], titled: Sequence[str]) -> list[Level]:
    """Return the place of each row on the last of some axes.

    A row whose attack or defense has no such setting (`none` has no eps) is placed at `–`, or at
    its choice if neither the choices nor another of their settings are an axis.

    Args:
        rows: rows of one table, in order.
        axes: all axes up to this one, which is `attack.` or `defense.` and a setting.
        titled: axes whose labels include the name (`eps=8/255`), such as columns.
    """
    axis = axes[-1]
    parent, _, name = axis.partition(".")
    first = not any(other.partition(".")[0] == parent for other in axes[:-1])
    choices = [row.cell.get(parent, "") for row in rows]
    values = [setting_value(row, parent, name) for row in rows]
    made = []
    for number, (choice, value) in enumerate(zip(choices, values, strict=True)):
        if not value and rows[number].status != "done":
            # A failed row has only its config: take the value of finished rows if they agree.
            alike = {
                other
                for row, other in zip(rows, values, strict=True)
                if row.status == "done" and row.cell.get(parent, "") == choice
            }
            value = alike.pop() if len(alike) == 1 else value
        if value:
            text = PARTS.get(value, value)
            label = f"{name.rpartition('.')[2]}={text}" if axis in titled else text
            made.append(Level(axis, value, label))
        else:
            label = (named(parent, choice, {})[0] if first else "") or ABSENT
            made.append(Level(axis, (choice if first else "") or ABSENT, label))
    return made


def hidden(rows: Sequence[Row], axes: Sequence[str], spare: Sequence[str]) -> list[str]:
    """Return the axes that the setting axes do not make redundant.

    Args:
        rows: rows of one table.
        axes: axes of the table.
        spare: varying axes that are not among `axes`, outermost first.

    Returns:
        Axes without which rows of different choices would share a place.
    """
    kept = []
    for axis in spare:
        own = [other for other in axes if other.startswith(f"{axis}.")]
        if own:
            columns = [setting_levels(rows, own[: at + 1], ()) for at in range(len(own))]
            choices: dict[tuple[Level, ...], set[str]] = {}
            for row, place in zip(rows, zip(*columns, strict=True), strict=True):
                choices.setdefault(place, set()).add(row.cell.get(axis, ""))
            if all(len(found) == 1 for found in choices.values()):
                continue
        kept.append(axis)
    return kept


def absent(rows: Sequence[Row], axes: Sequence[str]) -> list[str]:
    """Return a footnote for each setting axis that no row has (misspelt, or rows not yet run)."""
    lines = []
    for axis in axes:
        parent, _, name = axis.partition(".")
        if name and not any(setting_value(row, parent, name) for row in rows):
            known = ", ".join(dict.fromkeys(key for row in rows for key in variant(row, parent)))
            lines.append(f"No row has the setting {axis}; {parent} settings are {known}.")
    return lines


def has_setting(row: Row, axis: str) -> bool:
    """Return whether a row's attack or defense has a setting that is not null."""
    parent, _, name = axis.partition(".")
    settings = variant(row, parent)
    return settings.get(name) is not None or f"{name}.class" in settings


def setting_value(row: Row, parent: str, name: str) -> str:
    """Return the setting, or the class of an object; empty if there is none."""
    settings = variant(row, parent)
    for key in (name, f"{name}.class"):
        if key in settings:
            value = readable(comparable(settings[key]))
            return value.rpartition(".")[2] if key.endswith(".class") else value
    return ""
