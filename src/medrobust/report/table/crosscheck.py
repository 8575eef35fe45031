"""Attack-strength checks between rows: a sound attack gains by effort and by knowledge."""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from medrobust.report.table.label import comparable, flatten, readable
from medrobust.result.flag import Flag, flag
from medrobust.result.row import Row

EFFORT = ("eps", "steps", "restarts", "queries", "max_queries")
"""Settings of which more cannot hurt a sound attack."""

RETUNED = ("step_size",)
"""Settings that people adapt to the effort; they may differ between two compared rows."""

VERSION = ("version", "targets")
"""Settings of AutoAttack that go with the threat: `rand` is for random defenses that it sees."""

NOISE = 2.0
"""Number of standard errors that a difference must exceed."""

Flags = dict[str, list[Flag]]


def crosschecks(rows: Iterable[Row]) -> Flags:
    """Return the failed checks between rows.

    Args:
        rows: of one table; failed ones and clean ones (`attack=none`) are passed over.

    Returns:
        Row id -> flags; rows without a flag are absent.
    """
    attacked = [row for row in rows if row.status == "done" and row.cell.get("attack") != "none"]
    flags: Flags = {}
    for check in (stronger_setting, black_box, adaptive):
        for row_id, texts in check(attacked).items():
            flags.setdefault(row_id, []).extend(texts)
    return flags


def stronger_setting(rows: Sequence[Row]) -> Flags:
    """More steps, budget, restarts or queries, all else equal, that left more accuracy.

    A stronger row is held against the weaker one that it loses to most clearly.
    """
    flags: Flags = {}

    def alike(row: Row) -> Hashable:
        settings = flatten(row.attack_variant)
        kept = {k: v for k, v in settings.items() if k not in (*EFFORT, *RETUNED)}
        return (*_place(row), *_attacker(row), comparable(kept))

    for group in _groups(rows, alike):
        for strong in group:
            beaten = [weak for weak in group if _more(strong, weak) and _higher(strong, weak)]
            if beaten:
                weak = min(beaten, key=lambda row: _measure(row, _ACCURACY) or 0.0)
                more = ", ".join(
                    f"{key} {readable(_effort(strong)[key])} instead of {readable(value)}"
                    for key, value in _effort(weak).items()
                    if _effort(strong).get(key) != value
                )
                blind = strong.cell.get("threat") in ("oblivious", "transfer")
                unseen = blind and strong.cell.get("defense") != "none"
                code = "lighter_oblivious_stronger" if unseen else "lighter_attack_stronger"
                flags.setdefault(strong.id, []).append(flag(code, more=more))
    return flags


def black_box(rows: Sequence[Row]) -> Flags:
    """An attack that knows less and beats the best white-box attack of the same budget.

    White-box are adaptive rows, and oblivious rows without a defense; less know black-box and
    transfer attacks, and another attack that is oblivious of the defense. The flag goes to the
    best white-box row: its gradients may be masked.
    """
    flags: Flags = {}

    def alike(row: Row) -> Hashable:
        settings = flatten(row.attack_variant)
        budget = [comparable(settings.get(key)) for key in ("eps", "norm")]
        return (*_place(row), *budget)

    bounded = [row for row in rows if flatten(row.attack_variant).get("eps") is not None]
    for group in _groups(bounded, alike):
        white = [row for row in group if _white(row) and _measure(row, _ACCURACY) is not None]
        if not white:
            continue
        best = min(white, key=lambda row: _measure(row, _ACCURACY) or 0.0)
        beaten = [row for row in group if _knows_less(row, best) and _higher(best, row)]
        for row in beaten:
            flags.setdefault(best.id, []).append(
                flag("less_knowledge_stronger", attack=_name_of(row))
            )
    return flags


def adaptive(rows: Sequence[Row]) -> Flags:
    """The same attack, aimed at the defense, that left more than when it did not know of it.

    The aimed one may be of another version (AutoAttack's `rand`), or try harder; not less.
    """
    flags: Flags = {}

    def alike(row: Row) -> Hashable:
        settings = flatten(row.attack_variant)
        kept = {k: v for k, v in settings.items() if k not in (*EFFORT, *RETUNED, *VERSION)}
        return (*_place(row), comparable(settings.get("eps")), comparable(kept))

    for group in _groups(rows, alike):
        for aware in (row for row in group if is_adaptive(row)):
            for blind in (row for row in group if row.cell.get("threat") == "oblivious"):
                if (
                    aware.cell.get("defense") != "none"
                    and _no_less(aware, blind)
                    and _higher(aware, blind, _DETECTION)
                ):
                    flags.setdefault(aware.id, []).append(flag("oblivious_stronger"))
                    break
    return flags


_ACCURACY = ("jaccard", "dice", "accuracy")
_DETECTION = ("auroc", *_ACCURACY)  # an adaptive attacker of a detector aims at its score


def _place(row: Row) -> tuple[Hashable, ...]:
    names = (row.cell.get(axis, "") for axis in ("data", "model", "objective", "defense"))
    return (*names, comparable(flatten(row.defense_variant)), row.seed)


def _attacker(row: Row) -> tuple[Hashable, ...]:
    return tuple(row.cell.get(axis, "") for axis in ("threat", "surrogate"))


def _groups(rows: Sequence[Row], key: Callable[[Row], Hashable]) -> list[list[Row]]:
    groups: dict[Hashable, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def is_adaptive(row: Row) -> bool:
    """Return whether the attacker knew the defense, in any form of `threat=adaptive`."""
    return row.cell.get("threat", "").partition("/")[0] == "adaptive"


def _white(row: Row) -> bool:
    return is_adaptive(row) or (
        row.cell.get("threat") == "oblivious" and row.cell.get("defense") == "none"
    )


def _knows_less(row: Row, best: Row) -> bool:
    if row.cell.get("threat") == "oblivious":  # the same attack is held by `adaptive`
        other = flatten(row.attack_variant).get("class") != flatten(best.attack_variant).get(
            "class"
        )
        return row.cell.get("defense") != "none" and other
    return row.cell.get("threat") in ("blackbox", "transfer")


def _name_of(row: Row) -> str:
    return " ".join(filter(None, (row.cell.get(axis) for axis in ("threat", "attack"))))


def _effort(row: Row) -> dict[str, Any]:
    settings = flatten(row.attack_variant)
    return {key: comparable(settings[key]) for key in EFFORT if key in settings}


def _more(strong: Row, weak: Row) -> bool:
    ours, theirs = _effort(strong), _effort(weak)
    if ours.keys() != theirs.keys():
        return False
    numbers = [(ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]]
    return bool(numbers) and all(
        isinstance(one, float) and isinstance(other, float) and one > other
        for one, other in numbers
    )


def _no_less(strong: Row, weak: Row) -> bool:
    ours, theirs = _effort(strong), _effort(weak)
    return all(
        ours.get(key) == value
        or (isinstance(ours.get(key), float) and isinstance(value, float) and ours[key] >= value)
        for key, value in theirs.items()
    )


def _name(row: Row, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row.metrics), None)


def _measure(row: Row, names: Sequence[str]) -> float | None:
    name = _name(row, names)
    return None if name is None else row.metrics[name]


def _higher(row: Row, other: Row, names: Sequence[str] = _ACCURACY) -> bool:
    """Return whether `row` kept more than `other`, beyond noise."""
    name = _name(row, names)
    if name is None or name != _name(other, names) or not (row.n and other.n):
        return False
    difference = row.metrics[name] - other.metrics[name]
    if name == "accuracy":
        pooled = (row.metrics[name] * row.n + other.metrics[name] * other.n) / (row.n + other.n)
        error = math.sqrt(pooled * (1 - pooled) * (1 / row.n + 1 / other.n))
    else:
        spans = [item.intervals.get(name) for item in (row, other)]
        if None in spans:
            return False
        error = math.hypot(*((span[1] - span[0]) / (2 * 1.96) for span in spans if span))
    return difference > NOISE * error and difference > 1e-9
