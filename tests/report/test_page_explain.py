"""Every flag that can be raised is explained."""

from medrobust.attack.pgd import PGD
from medrobust.evaluation.checks import flags
from medrobust.report.page.explain import meaning
from medrobust.report.table.crosscheck import crosschecks
from medrobust.result.row import Row
from tests.report.conftest import make_row

SOUND = {
    "surrogate_clean": 0.9,
    "surrogate_adversarial": 0.1,
    "linf_median": 0.1,
    "linf_max": 0.1,
    "zero_gradient": 0.0,
}


def raised() -> list[str]:
    attack = PGD(eps=0.1, steps=2)
    assert flags(SOUND, attack) == []
    weak = {"surrogate_clean": 0.3, "zero_gradient": 0.2, "linf_median": 0.01}
    found = flags(SOUND | weak | {"surrogate_adversarial": 0.3}, attack)
    assert len(found) == 4

    def row(accuracy: float, steps: int = 5, **more: str) -> Row:
        return make_row(accuracy, settings={"eps": 0.1, "norm": "linf", "steps": steps}, **more)

    rows = [
        row(0.5),
        row(0.8, steps=50),  # weaker than a lighter attack
        row(0.1, attack="square", threat="blackbox"),  # knows less
        row(0.2, defense="jpeg"),
        row(0.6, defense="jpeg", threat="adaptive"),  # weaker than the oblivious one
    ]
    between = [text for texts in crosschecks(rows).values() for text in texts]
    assert len(between) >= 3
    return found + between


def test_every_flag_has_its_own_explanation() -> None:
    texts = {flag: meaning(flag) for flag in raised()}
    assert all(texts.values()), texts
    assert len(set(texts.values())) == 7


def test_an_unknown_flag_is_left_alone() -> None:
    assert meaning("something new") == ""
