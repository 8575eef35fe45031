"""Attack-strength checks between rows: a sound attack gains by effort and by knowledge."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from medrobust.report.table.compare import (
    DETECTION,
    Flags,
    bounded,
    budget,
    groups,
    higher,
    is_adaptive,
    measure,
    name_of,
    place,
)
from medrobust.report.table.label import comparable, flatten, readable
from medrobust.report.table.rival import aims_to_fool, other_attack, query_search
from medrobust.result.flag import flag
from medrobust.result.row import Row

EFFORT = ("eps", "steps", "restarts", "queries", "max_queries")
"""Settings of which more cannot hurt a sound attack."""

RETUNED = ("step_size",)
"""Settings that people adapt to the effort; they may differ between two compared rows."""

VERSION = ("version", "targets")
"""Settings of AutoAttack that go with the threat: `rand` is for random defenses that it sees."""


def crosschecks(rows: Iterable[Row]) -> Flags:
    """Return the failed checks between rows.

    Args:
        rows: of one table; failed ones, clean ones (`attack=none`) and attacks that do not aim at
            wrong answers are passed over.

    Returns:
        Row id -> flags; rows without a flag are absent.
    """
    attacked = [row for row in rows if row.status == "done" and aims_to_fool(row)]
    flags: Flags = {}
    for check in (stronger_setting, black_box, adaptive, query_search, other_attack):
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
        return (*place(row), *_attacker(row), comparable(kept))

    for group in groups(rows, alike):
        for strong in group:
            beaten = [weak for weak in group if _more(strong, weak) and higher(strong, weak)]
            if beaten:
                weak = min(beaten, key=lambda row: measure(row) or 0.0)
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
        return (*place(row), *budget(row))

    for group in groups([row for row in rows if bounded(row)], alike):
        white = [row for row in group if _white(row) and measure(row) is not None]
        if not white:
            continue
        best = min(white, key=lambda row: measure(row) or 0.0)
        beaten = [row for row in group if _knows_less(row, best) and higher(best, row)]
        for row in beaten:
            flags.setdefault(best.id, []).append(
                flag("less_knowledge_stronger", attack=name_of(row))
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
        return (*place(row), comparable(settings.get("eps")), comparable(kept))

    for group in groups(rows, alike):
        for aware in (row for row in group if is_adaptive(row)):
            for blind in (row for row in group if row.cell.get("threat") == "oblivious"):
                if (
                    aware.cell.get("defense") != "none"
                    and _no_less(aware, blind)
                    and higher(aware, blind, DETECTION)
                ):
                    flags.setdefault(aware.id, []).append(flag("oblivious_stronger"))
                    break
    return flags


def _attacker(row: Row) -> tuple[Hashable, ...]:
    return tuple(row.cell.get(axis, "") for axis in ("threat", "surrogate"))


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
