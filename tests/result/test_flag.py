"""Flags are data: words come from their codes, and every one that can be raised is explained."""

import pytest

from medrobust.attack.pgd import PGD
from medrobust.evaluation.checks import flags
from medrobust.report.table.crosscheck import crosschecks
from medrobust.result.flag import Flag, flag
from medrobust.result.row import Row
from tests.report.conftest import make_row

SOUND = {
    "surrogate_clean": 0.9,
    "surrogate_adversarial": 0.1,
    "linf_median": 0.1,
    "linf_max": 0.1,
    "zero_gradient": 0.0,
}


def raised() -> list[Flag]:
    attack = PGD(eps=0.1, steps=2)
    assert flags(SOUND, attack) == []
    weak = {"surrogate_clean": 0.3, "zero_gradient": 0.2, "linf_median": 0.01}
    weak |= {"surrogate_adversarial": 0.3, "gradient_cosine": 0.1, "gradient_cosine_error": 0.1}
    found = flags(SOUND | weak, PGD(eps=0.1, steps=20), quantization=0.2)
    assert len(found) == 6

    def row(accuracy: float, steps: int = 5, **more: str) -> Row:
        return make_row(accuracy, settings={"eps": 0.1, "norm": "linf", "steps": steps}, **more)

    rows = [
        row(0.5),
        row(0.8, steps=50),  # weaker than a lighter attack
        row(0.1, attack="square", threat="blackbox"),  # knows less
        row(0.2, defense="jpeg"),
        row(0.6, defense="jpeg", threat="adaptive"),  # weaker than the oblivious one
        row(0.61, defense="jpeg", threat="blackbox", attack="square"),  # as strong
        row(0.3, attack="dim"),  # stronger
    ]
    between = [one for texts in crosschecks(rows).values() for one in texts]
    assert len(between) >= 3
    return found + between


def test_every_flag_has_its_own_explanation() -> None:
    texts = {flag.text: flag.meaning for flag in raised()}
    assert all(texts.values()), texts
    assert len(set(texts.values())) == 11


def test_a_row_keeps_codes_and_numbers() -> None:
    found = flag("unused_budget", share=0.25, norm="linf")
    again = Row.from_json(Row("a", "done", {}, flags=[found]).to_json(), "f.json")
    assert again.flags == [found]
    assert again.flags[0].values == {"share": 0.25, "norm": "linf"}
    assert str(found) == "the attack used 25% of its linf budget (median)"


def test_a_code_of_a_later_version_is_shown_as_it_is() -> None:
    later = Flag("of_tomorrow", {"share": 0.5})
    assert (later.text, later.meaning) == ("of_tomorrow {'share': 0.5}", "")
    with pytest.raises(KeyError):
        flag("of_tomorrow")
    with pytest.raises(KeyError):
        flag("unused_budget", share=0.25)
