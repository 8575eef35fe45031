from types import SimpleNamespace
from typing import Any

import pytest
import torch
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from medrobust.model.core.victim import Victim
from medrobust.objective.dice_ce import DiceCE


class Fixed(nn.Module):
    """A network that gives the same logits for every image."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits


def fixed(logits: Tensor) -> Victim:
    return Victim(Fixed(logits), mean=[0.5] * 3, std=[0.5] * 3, architecture={})


X = torch.zeros(2, 3, 8, 8)
SEEDS = torch.arange(2)


@pytest.mark.parametrize(("dice_weight", "ce_weight"), [(1.0, 1.0), (0.3, 2.0), (1.0, 0.0)])
def test_the_closed_form(dice_weight: float, ce_weight: float) -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(2, 3, 8, 8), torch.randint(3, (2, 8, 8))
    p, t = logits.softmax(1), one_hot(y, 3).permute(0, 3, 1, 2)
    over = (0, 2, 3)
    dice = 1 - (2 * (p * t).sum(over) / (p.sum(over) + t.sum(over)))[1:].mean()
    expected = dice_weight * dice + ce_weight * cross_entropy(logits, y)
    objective = DiceCE(dice_weight=dice_weight, ce_weight=ce_weight)
    torch.testing.assert_close(objective.loss(fixed(logits), X, y, seeds=SEEDS), expected)


def test_with_two_classes_it_is_dice_and_binary_cross_entropy() -> None:
    """Of the difference of the logits, by segmentation_models_pytorch's binary loss and PyTorch."""
    torch.manual_seed(1)
    logits, y = torch.randn(2, 2, 8, 8), torch.randint(2, (2, 8, 8))
    difference = logits[:, 1:] - logits[:, :1]
    expected = DiceLoss("binary")(difference, y[:, None])
    expected = expected + binary_cross_entropy_with_logits(difference[:, 0], y.float())
    torch.testing.assert_close(DiceCE().loss(fixed(logits), X, y, seeds=SEEDS), expected)


def test_a_batch_without_foreground_has_cross_entropy_alone() -> None:
    logits, y = torch.randn(2, 2, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64)
    found = DiceCE().loss(fixed(logits), X, y, seeds=SEEDS)
    torch.testing.assert_close(found, cross_entropy(logits, y))


def test_a_perfect_segmentation_costs_nothing_and_a_wrong_one_much() -> None:
    y = torch.zeros(2, 8, 8, dtype=torch.int64)
    y[:, 2:5, 2:5] = 1
    right = 50 * one_hot(y, 2).permute(0, 3, 1, 2).float()
    assert DiceCE().loss(fixed(right), X, y, seeds=SEEDS) < 1e-5
    assert DiceCE(ce_weight=0).loss(fixed(-right), X, y, seeds=SEEDS) > 0.999


def test_gradients_reach_the_weights() -> None:
    victim = fixed(torch.randn(2, 2, 8, 8))
    DiceCE().loss(victim, X, torch.randint(2, (2, 8, 8)), seeds=SEEDS).backward()
    assert victim.network.logits.grad.abs().min() > 0


def test_classes_without_masks_are_refused() -> None:
    data: Any = SimpleNamespace(task="classification", name="dermamnist")
    with pytest.raises(TypeError, match="objective=standard"):
        DiceCE().prepare(data)


@pytest.mark.parametrize("weights", [(-1, 1), (0, 0)])
def test_impossible_factors_are_refused(weights: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="dice_weight"):
        DiceCE(dice_weight=weights[0], ce_weight=weights[1])
