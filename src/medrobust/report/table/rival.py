"""Checks of an attack's number against another attack of the same budget."""

from collections.abc import Hashable, Sequence

from medrobust.report.table.compare import (
    ACCURACY,
    DETECTION,
    Flags,
    bounded,
    budget,
    groups,
    higher,
    is_adaptive,
    measure,
    metric_of,
    name_of,
    place,
)
from medrobust.report.table.label import comparable, flatten
from medrobust.result.flag import flag
from medrobust.result.row import Row

LEFT = 0.1
"""Share that both attacks must leave for a search by queries to tell of gradients."""

LEAD = 0.1
"""Lead of a white-box attack that is never held against it, however few the images."""


def aims_to_fool(row: Row) -> bool:
    """Return whether the attack aims at wrong answers: `none` and `stress/…` do not."""
    attack = row.cell.get("attack", "")
    stress = attack.partition("/")[0] == "stress" or "feature_mean" in row.metrics
    return attack != "none" and not stress


def query_search(rows: Sequence[Row]) -> Flags:
    """A white-box attack on a defense that is not clearly stronger than a search by queries.

    The best adaptive attack is held against the best query attack of the same place, number of
    images and budget. It must leave less by more than two standard errors, or by `LEAD`, unless
    one of the two leaves at most `LEFT`. A black-box attack that is clearly stronger is left to
    `black_box`.
    """
    flags: Flags = {}

    def alike(row: Row) -> Hashable:
        return (*place(row), row.n, *budget(row), *_target(row))

    defended = [row for row in rows if bounded(row) and row.cell.get("defense") != "none"]
    measured = [row for row in defended if measure(row) is not None]
    for group in groups(measured, alike):
        white = [row for row in group if is_adaptive(row) and not _searches(row)]
        searches = [row for row in group if _searches(row)]
        if not (white and searches):
            continue
        best, search = (min(some, key=_left) for some in (white, searches))
        told = search.cell.get("threat") == "blackbox" and higher(best, search)
        lead = _left(search) - _left(best)
        alone = min(_left(search), _left(best)) <= LEFT
        if not (told or alone or higher(search, best) or lead >= LEAD):
            flags[best.id] = [flag("queries_as_strong", attack=name_of(search), left=_left(search))]
    return flags


def other_attack(rows: Sequence[Row]) -> Flags:
    """An attack that is clearly weaker than another one of the same threat and budget.

    Oblivious rows are held against oblivious ones and adaptive rows against adaptive ones, of the
    same place, number of images, settings of the threat, and target. Behind a detector the
    adaptive ones are compared by its AUROC, and oblivious ones, which do not aim at it, are not.
    Settings of one and the same attack are compared by `stronger_setting`.
    """
    flags: Flags = {}

    def alike(row: Row) -> Hashable:
        threat = comparable(row.config.get("threat"))
        who = (row.cell.get("threat", ""), threat)
        return (*place(row), *who, row.n, *budget(row), *_target(row))

    for group in groups([row for row in rows if bounded(row) and _white_box(row)], alike):
        names = DETECTION if is_adaptive(group[0]) else ACCURACY
        for row in group:
            stronger = [
                other
                for other in group
                if other.cell.get("attack") != row.cell.get("attack") and higher(row, other, names)
            ]
            if stronger:
                best = min(stronger, key=lambda one: measure(one, names) or 0.0)
                left, metric = measure(best, names), metric_of(best, names)
                flags[row.id] = [
                    flag("other_attack_stronger", attack=name_of(best), left=left, metric=metric)
                ]
    return flags


def _white_box(row: Row) -> bool:
    oblivious = row.cell.get("threat") == "oblivious"
    return is_adaptive(row) or (oblivious and "auroc_detection" not in row.metrics)


def _searches(row: Row) -> bool:
    """Return whether the attack asks for answers only."""
    asks = is_adaptive(row) and "queries_mean" in row.metrics
    return asks or row.cell.get("threat") == "blackbox"


def _left(row: Row) -> float:
    return measure(row) or 0.0


def _target(row: Row) -> tuple[Hashable, ...]:
    """Return the rule that chooses target classes; a targeted attack is a harder one."""
    settings = flatten(row.attack_variant)
    kept = {key: value for key, value in settings.items() if key.split(".")[0] == "target"}
    return (comparable({key: value for key, value in kept.items() if value is not None}),)
