import pytest

from medrobust.report.table.crosscheck import adaptive, black_box, crosschecks, stronger_setting
from medrobust.result.flag import flag
from medrobust.result.row import Row
from tests.report.conftest import MakeRow


@pytest.mark.parametrize("key", ["steps", "eps", "restarts"])
def test_more_effort_that_leaves_more(row: MakeRow, key: str) -> None:
    light = row(0.30, settings={"class": "PGD", "loss": "ce", key: 0.1})
    heavy = row(0.40, settings={"class": "PGD", "loss": "ce", key: 0.2})
    assert list(stronger_setting([light, heavy])) == [heavy.id]
    assert (
        f"{key} 0.2 instead of 0.1 left more" in stronger_setting([light, heavy])[heavy.id][0].text
    )


def test_noise_is_no_flag(row: MakeRow) -> None:
    # Standard error of the difference at n=2005 and p≈0.3 is 1.45 points.
    light = row(0.300, settings={"steps": 10})
    assert not stronger_setting([light, row(0.325, settings={"steps": 20})])
    assert stronger_setting([light, row(0.335, settings={"steps": 20})])
    assert not stronger_setting(
        [row(0.30, settings={"steps": 10}, n=200), row(0.34, settings={"steps": 20}, n=200)]
    )


def test_weaker_and_equal_settings_are_no_flag(row: MakeRow) -> None:
    light = row(0.4, settings={"steps": 10})
    assert not stronger_setting([light, row(0.3, settings={"steps": 20})])
    assert not stronger_setting([light, row(0.4, settings={"steps": 20})])
    trade = row(0.5, settings={"steps": 20, "eps": "2/255"})
    assert not stronger_setting([row(0.4, settings={"steps": 10, "eps": "8/255"}), trade])


@pytest.mark.parametrize(
    "other",
    [
        {"attack": "bim"},
        {"threat": "adaptive"},
        {"defense": "median"},
        {"filters": {"window": 5}},
        {"data": "other"},
        {"seed": 1},
        {"settings": {"steps": 10, "loss": "dlr"}},
        {"attack": "none"},
        {"accuracy": None},
    ],
)
def test_only_like_is_held_against_like(row: MakeRow, other: dict) -> None:
    accuracy = other.pop("accuracy", 0.1)
    weak = row(accuracy, **{"settings": {"steps": 10}, **other})
    strong = row(0.9, settings={"steps": 20})
    assert not stronger_setting([weak, strong]) or accuracy is None
    assert strong.id not in crosschecks([weak, strong])


def test_step_size_may_be_tuned_to_the_steps(row: MakeRow) -> None:
    weak = row(0.1, settings={"steps": 10, "step_size": "2/255"})
    strong = row(0.5, settings={"steps": 100, "step_size": "1/255"})
    assert strong.id in stronger_setting([weak, strong])


def test_a_blind_attack_says_so(row: MakeRow) -> None:
    rows = [row(a, defense="median", settings={"steps": s}) for a, s in ((0.1, 7), (0.5, 20))]
    (flags,) = stronger_setting(rows).values()
    assert [flag.text for flag in flags] == [
        "weaker than a lighter attack: steps 20 instead of 7 left more accuracy "
        "(it does not see this defense)"
    ]


@pytest.mark.parametrize("knowledge", ["blackbox", "transfer"])
def test_less_knowledge_that_leaves_less(row: MakeRow, knowledge: str) -> None:
    budget = {"eps": "8/255"}
    best = row(0.5, settings=budget)
    worse = row(0.6, attack="fgsm", settings=budget)
    black = row(0.2, attack="square", threat=knowledge, settings=budget)
    flags = black_box([best, worse, black])
    assert list(flags) == [best.id]
    assert f"weaker than {knowledge} square" in flags[best.id][0].text
    smaller = row(0.2, attack="square", threat=knowledge, settings={"eps": "16/255"})
    assert not black_box([best, worse, smaller])
    assert not black_box([best, row(0.1, settings=budget, attack="bim"), black])


def test_an_oblivious_attack_on_a_defense_is_not_white_box(row: MakeRow) -> None:
    same = {"defense": "median", "settings": {"eps": "8/255"}}
    rows = [row(0.5, **same), row(0.2, attack="square", threat="blackbox", **same)]
    assert not black_box(rows)
    assert black_box([*rows, row(0.4, threat="adaptive", **same)])


def test_unbounded_attacks_are_not_held_by_budget(row: MakeRow) -> None:
    assert not black_box([row(0.5), row(0.2, attack="square", threat="blackbox")])


def test_adaptive_that_leaves_more(row: MakeRow) -> None:
    blind, aware = row(0.3, defense="jpeg"), row(0.5, defense="jpeg", threat="adaptive")
    assert list(adaptive([blind, aware])) == [aware.id]
    assert list(crosschecks([blind, aware])) == [aware.id]
    assert not adaptive([row(0.3), row(0.5, threat="adaptive")])
    assert not adaptive([row(0.5, defense="jpeg"), row(0.3, defense="jpeg", threat="adaptive")])


def test_adaptive_of_another_version_is_held_too(row: MakeRow) -> None:
    base = {"attack": "autoattack", "defense": "mdda"}
    blind = row(0.3, settings={"eps": "2/255", "version": "standard", "steps": 100}, **base)

    def aware(accuracy: float, **more: object) -> Row:
        settings = {"eps": "2/255", "version": "rand", "steps": 100} | more
        return row(accuracy, threat="adaptive", settings=settings, **base)

    assert list(adaptive([blind, aware(0.5)])) == [aware(0.5).id]
    assert adaptive([blind, aware(0.5, steps=200)])
    assert not adaptive([blind, aware(0.5, steps=50)])  # which tried less
    assert not adaptive([blind, aware(0.5, eps="1/255")])  # which might do less
    assert not adaptive([blind, aware(0.5, norm="l2")])


def test_adaptive_within_sampling_error_is_not_flagged(row: MakeRow) -> None:
    """2005 images: a standard error of a difference near 0.3 is 0.0145."""
    blind = row(0.300, defense="jpeg")
    assert not adaptive([blind, row(0.328, defense="jpeg", threat="adaptive")])
    assert adaptive([blind, row(0.330, defense="jpeg", threat="adaptive")])
    few = row(0.3, defense="jpeg", n=50)
    assert not adaptive([few, row(0.45, defense="jpeg", threat="adaptive", n=50)])


def test_another_oblivious_attack_that_leaves_less_is_told(row: MakeRow) -> None:
    budget = {"settings": {"eps": "2/255"}, "defense": "mdda"}
    best, blind = row(0.4, threat="adaptive", **budget), row(0.2, attack="autoattack", **budget)
    flags = crosschecks([best, row(0.41, attack="dim", threat="adaptive", **budget), blind])
    assert list(flags) == [best.id]
    assert "weaker than oblivious autoattack, which knows less" in flags[best.id][0].text
    same = crosschecks([best, row(0.2, **budget)])
    assert same == {best.id: [flag("oblivious_stronger")]}


def test_detectors_are_held_by_auroc(row: MakeRow) -> None:
    def of(auroc: float, **more: str) -> Row:
        metrics = {"accuracy": 0.3, "auroc": 0.7, "auroc_detection": auroc}
        span = {name: [auroc - 0.02, auroc + 0.02] for name in ("auroc", "auroc_detection")}
        return row(0.3, defense="kd", metrics=metrics, intervals=span, **more)

    weak = [of(0.6), of(0.9, threat="adaptive")]
    assert list(adaptive(weak)) == [weak[1].id]
    assert not adaptive([of(0.60), of(0.62, threat="adaptive")])


def test_the_auroc_of_classes_decides_nothing(row: MakeRow) -> None:
    """An attack on the accuracy need not lower the rank of the true class."""

    def of(accuracy: float, auroc: float, **more: str) -> Row:
        metrics = {"accuracy": accuracy, "auroc": auroc}
        span = {"auroc": [auroc - 0.02, auroc + 0.02]}
        return row(accuracy, defense="jpeg", metrics=metrics, intervals=span, **more)

    assert not adaptive([of(0.3, 0.6), of(0.1, 0.9, threat="adaptive")])
    assert adaptive([of(0.1, 0.9), of(0.3, 0.6, threat="adaptive")])


def test_an_attack_on_features_is_no_weaker_attack(row: MakeRow) -> None:
    """`stress/mean` with more steps may well leave more accuracy."""
    stress = {"attack": "stress/mean", "defense": "none"}
    rows = [row(a, settings={"steps": s}, **stress) for a, s in ((0.3, 10), (0.5, 20))]
    assert stronger_setting(rows)
    assert not crosschecks(rows)
    named = [
        row(
            0.5,
            settings={"steps": s},
            metrics={"accuracy": a, "feature_mean": 1.0},
            attack="bim",
        )
        for a, s in ((0.3, 10), (0.5, 20))
    ]
    assert not crosschecks(named)


def test_victims_of_other_weights_are_not_compared(row: MakeRow) -> None:
    weak = row(0.1, settings={"steps": 10}, fingerprints={"victim": "one"})
    for victim, flagged in (("one", True), ("two", False)):
        strong = row(0.5, settings={"steps": 20}, fingerprints={"victim": victim})
        assert (strong.id in crosschecks([weak, strong])) is flagged


def test_segmentation_uses_its_interval(row: MakeRow) -> None:
    rows = [
        row(
            0.9,
            metrics={"jaccard": j},
            intervals={"jaccard": [j - w, j + w]},
            settings=s,
        )
        for j, w, s in (
            (0.3, 0.02, {"steps": 10}),
            (0.4, 0.02, {"steps": 20}),
            (0.44, 0.1, {"steps": 40}),
        )
    ]
    assert list(stronger_setting(rows)) == [rows[1].id, rows[2].id]
    assert not stronger_setting([rows[1], rows[2]])
