import pytest

from medrobust.report.table.reference import PaperError, class_counts, load, lookup, papers

DERMA = {"dataset": "dermamnist", "model": "resnet18"}
SALT_MEDIAN = ["noise=salt_pepper", "denoiser=median"]


def test_every_printed_number_loads() -> None:
    assert {name: len(load(name)) for name in papers()} == {
        "mdda": 92,
        "medical_aegis": 309,
        "medrdf": 1020,
        "smia": 149,
    }
    for name in papers():
        for value in load(name):
            assert value.paper == name
            assert value.unit != "percent" or abs(value.value) <= 5


def test_class_counts() -> None:
    assert sum(class_counts("isic2019").values()) == 25331
    assert class_counts("nothing") == {}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"attack": "none", "threat": "oblivious", "defense": "none"}, 0.741),
        (
            {
                "attack": "pgd",
                "steps": 20,
                "threat": "oblivious",
                "defense": "medrdf",
                "tokens": SALT_MEDIAN,
            },
            0.651,
        ),
        (
            {
                "attack": "pgd",
                "steps": 100,
                "eps": 8 / 255,
                "threat": "oblivious",
                "defense": "medrdf",
                "tokens": [*SALT_MEDIAN, "n=1e4"],
            },
            0.641,
        ),
        (
            {
                "attack": "pgd",
                "steps": 20,
                "eps": "4/255",
                "threat": "oblivious",
                "defense": "medrdf",
                "tokens": SALT_MEDIAN,
            },
            None,
        ),
        (
            {
                "attack": "pgd",
                "steps": 20,
                "threat": "adaptive",
                "defense": "medrdf",
                "tokens": SALT_MEDIAN,
            },
            None,
        ),
    ],
)
def test_medrdf_table3(query: dict, expected: float | None) -> None:
    found = lookup("medrdf", "table3", "accuracy", **DERMA, **query)
    assert (found and found.value) == expected


def test_other_papers() -> None:
    mdda = lookup(
        "mdda",
        "table2",
        "accuracy",
        dataset="isic2019",
        model="resnet50",
        threat="oblivious",
        attack="bim",
        defense="none",
        eps="2/255",
        steps=100,
    )
    assert mdda is not None
    assert mdda.value == 0
    clean = lookup(
        "mdda",
        "table2",
        "accuracy",
        dataset="isic2019",
        model="resnet50",
        threat="adaptive",
        attack="none",
        defense="none",
    )
    assert clean is not None
    assert clean.value == 0.82


@pytest.mark.parametrize(("layer", "expected"), [("penultimate", 0.425), ("1", None)])
def test_tokens_of_the_attack_count_on_clean_images(layer: str, expected: float | None) -> None:
    query = {"dataset": "aptos2019_binary", "model": "resnet50", "threat": "adaptive"}
    bare = query | {"attack": "none", "defense": "none"}
    found = lookup(
        "medical_aegis", "table1", "feature_mean", **bare, attack_tokens=[f"layer={layer}"]
    )
    assert (found and found.value) == expected


def test_several_numbers_are_named() -> None:
    with pytest.raises(PaperError, match=r"line \d+: .*noise=gaussian.*narrow it by eps, steps"):
        lookup(
            "medrdf",
            "table3",
            "accuracy",
            **DERMA,
            threat="oblivious",
            attack="pgd",
            steps=20,
            defense="medrdf",
        )


def test_unknown_paper() -> None:
    with pytest.raises(PaperError, match="there are mdda, medical_aegis, medrdf, smia"):
        load("class_counts")
