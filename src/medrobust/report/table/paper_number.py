"""Find the paper's number for a row."""

import re
from collections.abc import Mapping
from typing import Any

from medrobust.report.table.config import ReferenceConfig, TableError
from medrobust.report.table.label import flatten
from medrobust.report.table.reference import PaperValue, lookup, token_values
from medrobust.result.row import CELL, Row


def paper_value(
    row: Row, reference: ReferenceConfig, metric: str | None = None, attack: str | None = None
) -> PaperValue | None:
    """Return the paper's number for a row, or None.

    Names default to ours without their folder (`medrdf/pgd_20` -> `pgd_20`), steps and budget to
    the row's own; the mappings of the reference override both.

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
    defense = flatten(row.defense_variant)
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
        query |= reference.mappings.get(axis, {}).get(row.cell.get(axis, ""), {})
    tokens = query.get("attack_tokens", ())
    query["attack_tokens"] = _filled(tokens, settings, row.cell.get("attack", ""))
    query["tokens"] = _filled(query.get("tokens", ()), defense, row.cell.get("defense", ""))
    if attack is not None:  # a mean over all attacks of this budget
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


def _filled(tokens: Any, settings: Mapping[str, Any], choice: str) -> list[str]:
    try:
        # str.format would take the dot of a nested setting for an attribute.
        return [re.sub(r"{(.*?)}", lambda name: str(settings[name[1]]), str(t)) for t in tokens]
    except KeyError as error:
        raise TableError(
            f"table.reference: a token of {choice} asks for the setting {error}, which it does "
            f"not have; it has {sorted(settings)}"
        ) from None
