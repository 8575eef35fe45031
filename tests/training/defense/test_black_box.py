"""The black box shows answers and nothing else, and counts."""

import pytest
import torch
from torch import nn

from medrobust.training.defense.black_box import BlackBoxVictim
from tests.support.helpers import small_cnn

X = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_answers_are_the_victims_without_a_graph_and_counted() -> None:
    victim = small_cnn()
    box = BlackBoxVictim(victim)
    x = X.clone().requires_grad_()
    found = box(x)
    assert torch.equal(found, victim(X))
    assert not found.requires_grad
    box(X[:1])
    assert box.queries == 4


def test_it_exposes_no_weights() -> None:
    box = BlackBoxVictim(small_cnn())
    assert not isinstance(box, nn.Module)
    assert not any(isinstance(value, nn.Module | torch.Tensor) for value in vars(box).values())
    assert [name for name in dir(box) if not name.startswith("_")] == ["queries"]


def test_what_is_no_image_is_refused() -> None:
    box = BlackBoxVictim(small_cnn())
    for wrong in (X + 1, X - 1, X * torch.nan):
        with pytest.raises(ValueError, match=r"\[0, 1\], got values from"):
            box(wrong)
    assert box.queries == 0
