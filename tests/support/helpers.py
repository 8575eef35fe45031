"""Small victims with known behaviour, for tests of what stands around them."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medrobust.model.core.victim import Victim


class LinearNetwork(nn.Module):
    """logits = flatten(x) @ weight."""

    def __init__(self, features: int, classes: int, seed: int = 0) -> None:
        super().__init__()
        weight = torch.randn(features, classes, generator=torch.Generator().manual_seed(seed))
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


def linear_victim(channels: int = 3, size: int = 8, classes: int = 4, seed: int = 0) -> Victim:
    """A frozen linear classifier on images (N, channels, size, size)."""
    network = LinearNetwork(channels * size * size, classes, seed)
    architecture = {"kind": "linear", "seed": seed}
    half = [0.5] * channels
    return Victim(network, mean=half, std=half, architecture=architecture).freeze()


def class_directions(victim: Victim) -> Tensor:
    """Return (K, C, H, W): the unit steps that most raise a linear victim's classes over the mean.

    Grey is equally far from all classes of `linear_victim`: noise around grey is of each class
    alike, and of one class the more, the longer the step toward it.
    """
    weight = victim.network.get_parameter("weight").detach().T
    steps = weight - weight.mean(0)
    size = round((steps.shape[1] / victim.mean.numel()) ** 0.5)
    return (steps / steps.norm(dim=1, keepdim=True)).view(len(steps), -1, size, size)


def check_equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Check that two runs have the same metrics, or the same intervals.

    Probabilities differ in their last bits with the size of a batch, and so do metrics that average
    them. All others are shares of images or of pairs, and equal.
    """
    rounded = ("ece", "clean_ece", "brier", "clean_brier")
    assert list(one) == list(other)
    for name, value in one.items():
        expected = pytest.approx(other[name], abs=1e-6) if name in rounded else other[name]
        assert value == expected, name


def small_cnn(classes: int = 4, seed: int = 0) -> Victim:
    """A frozen, untrained convolutional classifier of RGB images of any size."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, classes),
    )
    architecture = {"kind": "cnn", "seed": seed}
    return Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture=architecture).freeze()
