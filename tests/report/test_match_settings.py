"""A paper's tokens that follow settings of ours; notes that composed configs add up."""

import pytest

from medrobust.report.table.config import TableConfig
from medrobust.report.table.node import TableError
from medrobust.report.table.paper_number import paper_value
from tests.report.conftest import make_row

NODE = {
    "paper": "medrdf",
    "table": "table1",
    "defenses": {"medrdf": {"defense": "medrdf", "tokens": ["sigma={noise.sigma}", "n={n}"]}},
}


def row(filters: dict) -> object:
    return make_row(
        0.9,
        data="covid_radiography",
        model="resnet50",
        attack="none",
        defense="medrdf",
        filters=filters,
    )


@pytest.mark.parametrize(("sigma", "printed"), [(0.05, 0.934), (0.1, 0.916), (0.07, None)])
def test_a_token_follows_a_nested_setting(sigma: float, printed: float | None) -> None:
    reference = TableConfig.parse({"reference": NODE}).reference
    assert reference is not None
    found = paper_value(row({"noise": {"sigma": sigma}, "n": 10_000}), reference)
    assert (found and found.value) == printed


def test_a_token_of_a_setting_that_is_not_there() -> None:
    reference = TableConfig.parse({"reference": NODE}).reference
    assert reference is not None
    with pytest.raises(TableError, match=r"medrdf asks for the setting 'noise\.sigma'"):
        paper_value(row({"n": 10_000}), reference)


NOISY = {
    **NODE,
    "table": "table3",
    "defenses": {"medrdf": {"tokens": ["noise={noise}", "denoiser={filter|denoiser}{window|}"]}},
    "names": {
        "defense.noise": {"SaltPepperNoise": "salt_pepper"},
        "defense.denoiser": {"NoDefense": "none"},
    },
}


@pytest.mark.parametrize(
    ("noise", "denoiser", "printed"),
    [
        ("SaltPepperNoise", "NoDefense", ("noise=salt_pepper", "denoiser=none")),
        ("SaltPepperNoise", "median", ("noise=salt_pepper", "denoiser=median")),
        ("GaussianNoise", "NoDefense", None),  # the paper has no word of that name
    ],
)
def test_a_token_names_the_class_of_an_object_as_the_paper_does(
    noise: str, denoiser: str, printed: tuple[str, ...] | None
) -> None:
    reference = TableConfig.parse({"reference": NOISY}).reference
    assert reference is not None
    filters = {"noise": {"class": f"a.{noise}", "sigma": 0.1}, "denoiser": {"class": denoiser}}
    names = {"data": "dermamnist", "model": "resnet18", "attack": "none", "defense": "medrdf"}
    cell = make_row(0.9, **names, filters=filters)
    found = paper_value(cell, reference)
    assert (found and found.defense_tokens[:2]) == printed


def test_of_several_settings_of_a_token_one_must_be_there() -> None:
    node = {**NODE, "defenses": {"medrdf": {"tokens": ["sigma={noise.sigma|noise.peak}"]}}}
    reference = TableConfig.parse({"reference": node}).reference
    assert reference is not None
    with pytest.raises(TableError, match=r"asks for the setting 'noise\.sigma\|noise\.peak'"):
        paper_value(row({"n": 10_000}), reference)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"noise": {"SaltPepperNoise": "s"}}, "'noise' is no setting such as defense.noise"),
        ({"defense.noise": "salt_pepper"}, "names.defense.noise is 'salt_pepper', expected a"),
    ],
)
def test_names_that_are_none(names: dict, message: str) -> None:
    with pytest.raises(TableError, match=message):
        TableConfig.parse({"reference": {**NODE, "names": names}})


def test_notes_by_name() -> None:
    notes = {"first": "A note.", "dropped": None, "second": "Another."}
    reference = TableConfig.parse({"reference": {**NODE, "notes": notes}}).reference
    assert reference is not None
    assert reference.notes == ("A note.", "Another.")


THROUGH = {
    "paper": "medrdf",
    "table": "table3",
    "defenses": {
        "median": {
            "defense": "median_filter",
            "threats": {"oblivious": {"threat": "clean"}, "adaptive": {"threat": "oblivious"}},
        },
        "gaussian_smoothing": {"threats": {"oblivious": None}},
    },
}


@pytest.mark.parametrize(
    ("defense", "threat", "attack", "printed"),
    [
        ("median", "adaptive", "bim", True),
        ("median", "oblivious", "bim", False),
        ("median", "oblivious", "none", True),  # clean images meet no attacker
        ("median", "blackbox", "bim", False),
        ("gaussian_smoothing", "oblivious", "bim", False),
        ("gaussian_smoothing", "oblivious", "none", False),
        ("none", "oblivious", "bim", True),
    ],
)
def test_columns_under_one_threat(defense: str, threat: str, attack: str, printed: bool) -> None:
    reference = TableConfig.parse({"reference": THROUGH}).reference
    assert reference is not None
    settings = {} if attack == "none" else {"steps": 7, "eps": "8/255"}
    found = paper_value(
        make_row(0.5, defense=defense, threat=threat, attack=attack, settings=settings), reference
    )
    assert (found is not None) is printed
    if found and defense == "median":
        assert (found.defense, found.attack) == ("median_filter", attack)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"threats": "adaptive"}, "threats is 'adaptive', expected a mapping from threats of ours"),
        ({"threats": {"adaptive": {"threat": "seen"}}}, "threats.adaptive: .* no threat 'seen'"),
        ({"threats": {"adaptive": {"threats": {}}}}, r"threats.adaptive has unknown keys"),
    ],
)
def test_wrong_columns_under_one_threat(node: dict, message: str) -> None:
    with pytest.raises(TableError, match=f"table.reference.defenses.median.*{message}"):
        TableConfig.parse({"reference": {**THROUGH, "defenses": {"median": node}}})
