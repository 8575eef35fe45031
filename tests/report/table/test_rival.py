"""A number held against another attack's: query searches, and attacks of the same knowledge."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from medrobust.report.render.tidy import render
from medrobust.report.table.compare import higher
from medrobust.report.table.config import TableConfig
from medrobust.report.table.crosscheck import crosschecks
from medrobust.report.table.pivot import build
from medrobust.report.table.rival import other_attack, query_search
from medrobust.result.row import Row
from tests.report.conftest import MakeRow

BUDGET = {"eps": "8/255", "norm": "linf"}
OfAttack = Callable[..., Row]


@pytest.fixture
def pgd(row: MakeRow) -> OfAttack:
    """An adaptive PGD on a JPEG defense."""

    def make(accuracy: float = 0.60, **more: object) -> Row:
        return row(
            accuracy,
            **{"threat": "adaptive", "defense": "jpeg", "settings": BUDGET, "n": 500} | more,
        )

    return make


@pytest.fixture
def square(pgd: OfAttack) -> OfAttack:
    """A black-box Square on the same defense."""

    def make(accuracy: float = 0.62, **more: object) -> Row:
        settings = BUDGET | {"queries": 1000}
        given = {"attack": "square", "threat": "blackbox", "settings": settings} | more
        return pgd(accuracy, **given)

    return make


@pytest.mark.parametrize("n", [50, 100, 500, 2005])
def test_square_that_leaves_62_where_pgd_leaves_60(pgd, square, n: int) -> None:
    rows = [pgd(0.60, n=n), square(0.62, n=n)]
    flags = crosschecks(rows)
    assert list(flags) == [rows[0].id]
    assert [flag.text for flag in flags[rows[0].id]] == [
        "not clearly stronger than blackbox square, which left 62.0%: gradients may be masked"
    ]


def test_the_lead_must_exceed_noise_or_ten_points(pgd, square) -> None:
    """At 500 images two standard errors near 0.6 are 6.2 points, and at 60 images 17.9."""
    assert query_search([pgd(0.57), square(0.62)])
    assert not query_search([pgd(0.55), square(0.62)])
    assert query_search([pgd(0.50, n=60), square(0.59, n=60)])
    assert not query_search([pgd(0.50, n=60), square(0.61, n=60)])


def test_both_must_leave_something(pgd, square) -> None:
    assert query_search([pgd(0.12), square(0.13)])
    assert not query_search([pgd(0.08), square(0.09)])
    assert not query_search([pgd(0.09), square(0.11)])


def test_a_search_that_is_clearly_stronger_is_told_once(pgd, square) -> None:
    rows = [pgd(0.70), square(0.50)]
    (flags,) = crosschecks(rows).values()
    assert [flag.code for flag in flags] == ["less_knowledge_stronger"]
    assert not query_search(rows)
    assert query_search([pgd(0.64), square(0.62)])  # weaker, within noise


def test_a_query_attack_of_an_adaptive_attacker_is_a_search_too(pgd, square) -> None:
    metrics = {"accuracy": 0.62, "queries_mean": 900.0}
    search = square(0.62, threat="adaptive", metrics=metrics)
    assert list(query_search([pgd(), search])) == [pgd().id]
    assert not query_search([search, square()])  # there is no gradient to be masked
    worse = search.metrics | {"accuracy": 0.3}
    codes = crosschecks([pgd(), square(0.3, threat="adaptive", metrics=worse)])[pgd().id]
    assert [flag.code for flag in codes] == ["queries_as_strong", "other_attack_stronger"]


def test_only_the_best_of_each_side_counts(pgd, square) -> None:
    strong = pgd(0.30, attack="apgd_ce")
    assert not query_search([pgd(0.60), strong, square(0.62)])
    assert list(query_search([pgd(0.62), pgd(0.60, attack="bim"), square(0.62), square(0.9)])) == [
        pgd(0.60, attack="bim").id
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"data": "other"},
        {"model": "vgg16"},
        {"objective": "trades"},
        {"fingerprints": {"victim": "retrained"}},
        {"defense": "median"},
        {"filters": {"quality": 50}},
        {"settings": BUDGET | {"eps": "4/255"}},
        {"settings": BUDGET | {"norm": "l2"}},
        {"settings": BUDGET | {"target": {"class": "RandomClass"}}},
        {"seed": 1},
        {"n": 499},
    ],
    ids=str,
)
def test_only_the_same_place_and_budget_are_compared(pgd, square, other: dict) -> None:
    assert query_search([pgd(), square()])
    assert not query_search([pgd(), square(**other)])
    assert other_attack([pgd(0.6), pgd(0.2, attack="bim")])
    assert not other_attack([pgd(0.6), pgd(0.2, attack="bim", **other)])


def test_without_an_interval_nothing_is_clearly_stronger(pgd) -> None:
    def dice(value: float, spread: float | None, attack: str) -> Row:
        spans = {} if spread is None else {"dice": [value - spread, value + spread]}
        return replace(pgd(attack=attack), metrics={"dice": value}, intervals=spans)

    assert higher(dice(0.8, 0.05, "pgd"), dice(0.4, 0.05, "bim"), ["dice"])
    assert not higher(dice(0.8, 0.3, "pgd"), dice(0.4, 0.3, "bim"), ["dice"])
    assert not higher(dice(0.8, 0.05, "pgd"), dice(0.4, None, "bim"), ["dice"])


def test_bare_victims_are_not_held_against_queries(pgd, square) -> None:
    rows = [pgd(defense="none", threat="oblivious"), square(defense="none")]
    assert not query_search(rows)
    assert not query_search([pgd(defense="none"), square(defense="none")])


@pytest.mark.parametrize("threat", ["oblivious", "adaptive", "adaptive/bpda"])
def test_a_clearly_stronger_attack_is_named(pgd, threat: str) -> None:
    weak, strong = pgd(0.6, threat=threat), pgd(0.2, attack="apgd_ce", threat=threat)
    middle = pgd(0.4, attack="bim", threat=threat)
    flags = other_attack([weak, middle, strong])
    assert list(flags) == [weak.id, middle.id]
    assert {flag.text for found in flags.values() for flag in found} == {
        f"weaker than {threat} apgd_ce, which left accuracy 20.0% with the same budget"
    }


def test_noise_is_no_stronger_attack(pgd) -> None:
    """At 500 images two standard errors near 0.6 are 6.2 points."""
    assert not other_attack([pgd(0.60), pgd(0.55, attack="bim")])
    assert other_attack([pgd(0.60), pgd(0.53, attack="bim")])


def test_knowledge_and_settings_of_the_threat_are_the_same(pgd) -> None:
    weak = pgd(0.6, config={"threat": {"eot_samples": 1}})
    for draws, flagged in ((1, True), (32, False)):
        strong = pgd(0.2, attack="bim", config={"threat": {"eot_samples": draws}})
        assert bool(other_attack([weak, strong])) is flagged
    assert not other_attack([pgd(0.6, threat="oblivious"), pgd(0.2, attack="bim")])
    black = [pgd(a, threat="blackbox", attack=name) for a, name in ((0.6, "rays"), (0.2, "square"))]
    assert not other_attack(black)


@pytest.mark.parametrize("weak", ["none", "stress/mean"])
def test_rows_that_do_not_aim_at_wrong_answers_are_left_out(pgd, weak: str) -> None:
    assert not crosschecks([pgd(0.6, attack=weak), pgd(0.2)])


def test_attacks_without_a_budget_are_left_out(pgd) -> None:
    nearest = {"settings": {"eps": None, "norm": "linf"}}
    assert not other_attack([pgd(0.2, attack="deepfool", **nearest), pgd(0.6, **nearest)])
    assert not other_attack([pgd(0.2, attack="deepfool", **nearest), pgd(0.6)])


def test_settings_of_one_attack_are_not_another_attack(pgd) -> None:
    rows = [pgd(a, settings=BUDGET | {"steps": s}) for a, s in ((0.6, 5), (0.2, 50))]
    assert not other_attack(rows)


def test_detectors_are_compared_by_their_auroc_or_not_at_all(pgd) -> None:
    def of(accuracy: float, auroc: float, **more: str) -> Row:
        metrics = {"accuracy": accuracy, "auroc_detection": auroc}
        span = {"auroc_detection": [auroc - 0.02, auroc + 0.02]}
        return pgd(accuracy, metrics=metrics, intervals=span, **more)

    seen, evading = of(0.1, 0.9), of(0.3, 0.5, attack="orthogonal_pgd")
    assert list(other_attack([seen, evading])) == [seen.id]
    blind = [of(0.6, 0.9, threat="oblivious"), of(0.2, 0.5, attack="bim", threat="oblivious")]
    assert not other_attack(blind)


def test_masks_are_compared_by_their_jaccard(pgd) -> None:
    def of(jaccard: float, **more: str) -> Row:
        span = {"jaccard": [jaccard - 0.02, jaccard + 0.02]}
        return pgd(0.9, metrics={"jaccard": jaccard}, intervals=span, **more)

    (flags,) = other_attack([of(0.6), of(0.5, attack="bim")]).values()
    assert "left jaccard 50.0%" in flags[0].text
    assert not other_attack([of(0.6), of(0.58, attack="bim")])
    assert query_search([of(0.6), of(0.61, attack="square", threat="blackbox")])


def test_table_and_spreadsheet_show_the_flag(pgd, square) -> None:
    rows = [pgd(), square()]
    axes = {"rows": ["threat"], "columns": ["attack"], "metric": "accuracy"}
    table = build(rows, TableConfig.parse(axes))
    assert [flag.code for flag in table.flags] == ["queries_as_strong"]
    assert "gradients may be masked" in render(table)
