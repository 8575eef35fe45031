import pytest
import torch
from torch import Tensor

from medrobust.attack.none import NoAttack
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import VictimSurrogate


def test_returns_a_copy(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    found = NoAttack()(surrogate, images, labels, seeds=seeds)
    assert torch.equal(found, images)
    assert found.data_ptr() != images.data_ptr()


def test_needs_no_gradient(victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor) -> None:
    """The clean row stands beside those of query attacks."""
    system = BlackBox()(victim, NoDefense())
    assert not system.differentiable
    assert torch.equal(NoAttack()(system, images, labels, seeds=seeds), images)


def test_has_no_budget() -> None:
    assert NoAttack().eps is None
    assert NoAttack(eps=None).settings["eps"] is None
    with pytest.raises(ValueError, match=r"leave attack\.eps=null"):
        NoAttack(eps=0.1)  # type: ignore[arg-type]
