"""Objects and bools among the arguments of a constructor are checked, in one sentence."""

from typing import Any

import pytest
import torch
from torch import nn

from medrobust.attack import PGD
from medrobust.attack.loss import DLR
from medrobust.attack.target import FixedClass
from medrobust.configured import Configured
from medrobust.threat import Transfer


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("loss", "dlr", r"PGD.loss is 'dlr', expected an object of Loss or None; .*\.DLR\(…\)"),
        ("loss", "nothing", r"PGD.loss is 'nothing', .*medrobust\.attack\.loss\.\w+\(…\)"),
        ("loss", DLR, r"PGD.loss is the class DLR, expected an object of Loss.*loss=DLR\(…\)"),
        ("target", 2, r"PGD.target is 2, .* target=medrobust\.attack\.target\.FixedClass\(…\)"),
        ("criterion", [1], "PGD.criterion is a list, expected an object of Criterion or None"),
        ("early_stop", "no", r"PGD.early_stop is 'no', expected true or false \(bool\)"),
        ("early_stop", None, "PGD.early_stop is None, expected true or false"),
        ("loss", "x" * 500, "PGD.loss is 'x{59}…, expected"),
    ],
)
def test_what_is_no_such_object_is_named(name: str, value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message) as caught:
        PGD(eps=0.1, steps=1, **{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [nn.Flatten(), torch.relu, None])
def test_the_attackers_model_is_a_victim(model: Any) -> None:
    with pytest.raises(TypeError, match=r"Transfer.surrogate is .*; .*medrobust\.Victim\(…\)"):
        Transfer(model)


def test_what_is_right_passes() -> None:
    made = PGD(eps="8/255", steps=1, loss=DLR(), target=FixedClass(2), early_stop=True)
    assert isinstance(made.loss, DLR)


class Free(Configured):
    def __init__(self, one: Any, two: "float | str" = 1, three: "type[DLR] | None" = None) -> None:
        self.one, self.two, self.three = one, two, three


def test_other_annotations_accept_everything() -> None:
    assert Free(DLR, [3], DLR).two == [3]  # type: ignore[arg-type]
