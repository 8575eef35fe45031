import pytest
import torch
from torch import Tensor

from medrobust.attack.pgd import PGD
from medrobust.threat.surrogate import VictimSurrogate


@pytest.mark.parametrize(("steps", "expected"), [(1, 0.1), (2, 0.1), (5, 0.05), (100, 0.0025)])
def test_step_size(steps: int, expected: float) -> None:
    assert PGD(0.1, steps=steps).step_size == pytest.approx(expected)


def test_restarts_only_help(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """The first restart of three is the only one of one, so no image can be lost."""
    fooled = [
        surrogate.victim(
            PGD("3/255", steps=3, restarts=n)(surrogate, images, labels, seeds=seeds)
        ).argmax(1)
        != labels
        for n in (1, 3)
    ]
    assert not (fooled[0] & ~fooled[1]).any()
    assert torch.equal(fooled[0] | fooled[1], fooled[1])
