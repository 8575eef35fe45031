import pytest
import torch
from torch import Tensor

from medrobust.attack.none import NoAttack
from medrobust.threat.surrogate import VictimSurrogate


def test_returns_a_copy(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    found = NoAttack()(surrogate, images, labels, seeds=seeds)
    assert torch.equal(found, images)
    assert found.data_ptr() != images.data_ptr()


def test_has_no_budget() -> None:
    assert NoAttack().eps is None
    assert NoAttack(eps=None).settings["eps"] is None
    with pytest.raises(ValueError, match=r"leave attack\.eps=null"):
        NoAttack(eps=0.1)  # type: ignore[arg-type]
