from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.bim import BIM
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.loss.margin import Margin
from medrobust.threat.surrogate import VictimSurrogate


def test_margin_sees_through_saturated_logits(
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
    wrap: Callable[..., VictimSurrogate],
) -> None:
    """With logits times 1e4 the cross-entropy has no gradient; the margin still has."""

    class Loud(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1e4 * surrogate.victim.network(x)

    loud = wrap(Loud())
    left = {}
    for attack in (BIM("6/255", steps=20), CWLinf("6/255", steps=20, kappa=1e9)):
        found = attack(loud, images, labels, seeds=seeds)
        left[type(attack)] = (surrogate.victim(found).argmax(1) == labels).float().mean()
    assert left[CWLinf] < 0.5 * left[BIM]


def test_kappa_zero_stops_at_the_boundary(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    margin = {}
    for kappa in (0.0, 50.0):
        found = CWLinf("8/255", steps=20, kappa=kappa)(surrogate, images, labels, seeds=seeds)
        logits = surrogate.victim(found)
        own = logits.gather(1, labels[:, None])[:, 0]
        other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        margin[kappa] = (other - own).median()
    assert margin[50.0] > 2 * margin[0.0] > 0


def test_bad_kappa() -> None:
    with pytest.raises(ValueError, match=r"kappa=-1"):
        CWLinf(0.1, steps=1, kappa=-1)
    assert isinstance(CWLinf(0.1, steps=1).loss, Margin)
