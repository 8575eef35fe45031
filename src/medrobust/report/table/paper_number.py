"""Find the paper's number for a row."""

import re
from typing import Any

from medrobust.report.table.label import flatten, variant
from medrobust.report.table.node import TableError
from medrobust.report.table.reference import PaperValue, lookup, token_values
from medrobust.report.table.reference_config import ReferenceConfig
from medrobust.report.table.setting import setting_value
from medrobust.result.row import CELL, Row


def paper_value(
    row: Row, reference: ReferenceConfig, metric: str | None = None, attack: str | None = None
) -> PaperValue | None:
    """Return the paper's number for a row, or None.

    Names default to ours without their folder (`mdda/pgd` -> `pgd`), steps and budget to
    the row's own; the mappings of the reference override both. A choice that is mapped to null,
    always or under the row's threat, has no number.

    Args:
        row: a finished row.
        reference: source of the paper's numbers.
        metric: the paper's metric; by default the reference's.
        attack: attack name in the paper's CSV instead of the row's (`average`).

    Raises:
        PaperError: several different numbers fit.
        TableError: a token refers to a setting that the row does not have.
    """
    settings = flatten(row.attack_variant)
    query: dict[str, Any] = {
        "dataset": row.cell.get("data", ""),
        "model": row.cell.get("model", ""),
        "threat": row.cell.get("threat", ""),
        "surrogate": row.cell.get("surrogate", ""),
        "attack": row.cell.get("attack", "").rpartition("/")[2],
        "defense": row.cell.get("defense", "").rpartition("/")[2],
        "norm": settings.get("norm"),
        "eps": settings.get("eps"),
        "steps": settings.get("steps"),
    }
    for axis in CELL:
        columns = reference.columns(axis, row.cell)
        if columns is None:
            return None
        query |= columns
    for parent, key in (("attack", "attack_tokens"), ("defense", "tokens")):
        query[key] = [_filled(str(token), row, parent, reference) for token in query.get(key, ())]
    if attack is not None:  # of all attacks of this budget
        query |= {"attack": attack, "attack_tokens": (), "norm": None, "steps": None}
    return lookup(reference.paper, reference.table, metric or reference.metric, **query)


def unlike(row: Row, value: PaperValue) -> list[str]:
    """Return sentences on settings of the defense that differ from the paper's."""
    ours = flatten(row.defense_variant)
    return [
        f"{name} = {ours[name]:g} in ours, {printed:g} in the paper"
        for name, printed in token_values(value.defense_tokens).items()
        if isinstance(ours.get(name), int | float) and ours[name] != printed
    ]


def _filled(token: str, row: Row, parent: str, reference: ReferenceConfig) -> str:
    # Not str.format, to which the dot of a nested setting is an attribute.
    return re.sub(r"{(.*?)}", lambda found: _said(found[1], row, parent, reference), token)


def _said(names: str, row: Row, parent: str, reference: ReferenceConfig) -> str:
    """Return the paper's name for the value of the first setting of `a|b` that a row has."""
    settings = variant(row, parent)
    for name in names.split("|"):
        if name in settings or f"{name}.class" in settings:
            shown = setting_value(row, parent, name)
            printed = reference.names.get(f"{parent}.{name}", {})
            return printed.get(shown, str(settings.get(name, shown)))
        if not name:
            return ""
    raise TableError(
        f"table.reference: a token of {row.cell.get(parent, '')} asks for the setting {names!r}, "
        f"which it does not have; it has {sorted(settings)}"
    )
