"""Trap 2: a ripple of random phase, whose slope drowns the gradient of every single draw."""

import math

import torch
from torch import Tensor, nn

from medrobust.defense.core.base import Purifier
from medrobust.rng import uniform
from tests.support.traps.scene import Fold, clear, direction, head, uniform_images, victim_of
from tests.support.traps.trap import Trap

HEIGHT, WAVES, EPS, GAP = 0.02, 900.0, 0.01, 0.012


class Ripple(Purifier):
    """Adds height sin(2 pi (waves x + u)) with u uniform per pixel, then maps [0, 1] to [0, 1/2].

    Args:
        height: amplitude of the ripple in [0, 1] units.
        waves: periods per unit of brightness.
    """

    random = True

    def __init__(self, height: float = HEIGHT, waves: float = WAVES) -> None:
        super().__init__()
        self.height, self.waves = height, waves

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the rippled image in the dark half."""
        phase = self.waves * x + uniform(seeds, x.shape[1:])
        return (x + self.height * torch.sin(2 * math.pi * phase)).clamp(0, 1) / 2


def build() -> Trap:
    """Make a linear score of dark images; the noise has one law at every image.

    The phase is uniform, so that the ripple's law does not depend on the image: the best
    perturbation is a corner of the ball, and the chance of a right answer there is a distribution
    function. The victim's own derivative at a bright image has the wrong sign, since it folds.
    """
    x = uniform_images(0.6, 0.85, 11)
    weight = direction(12)
    tail = head(weight[None], 1 - x)
    victim = victim_of(nn.Sequential(Fold(), *tail))
    score = score_of(tail[1], x)
    y = (score > 0).long()
    clean = score.abs()
    worst = clean - EPS * weight.double().abs().sum()
    kept = clear(clean, worst, GAP)
    right = below(worst[kept], HEIGHT * weight.double())

    def gain(image: Tensor, label: Tensor) -> Tensor:
        logits = victim(image / 2)
        return (logits[:, 1] - logits[:, 0]) * (1 - 2 * label)

    return Trap(
        "stochastic",
        victim,
        Ripple(),
        x[kept],
        y[kept],
        EPS,
        right,
        "the slope of a draw is a hundred times that of the mean, with a random sign",
        gain,
    )


@torch.no_grad()
def score_of(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the mean score (N,) of the deployed system, float64: the fold of x / 2 is 1 - x."""
    weight, bias = layer.weight.double(), layer.bias.double()
    return ((1 - x.flatten(1).double()) @ weight.T + bias)[:, 0]


def below(limit: Tensor, heights: Tensor) -> Tensor:
    """Return the chance (N,) that a sum of sines of random phase is below `limit`.

    This is the inversion formula of Gil-Pelaez; the characteristic function of a sine of height a
    is the Bessel function J0(a t).
    """
    sigma = heights.norm() / math.sqrt(2)
    grid = (torch.arange(1, 4001).double() - 0.5) * (10 / sigma / 4000)
    wave = torch.special.bessel_j0(heights.abs()[:, None] * grid).prod(0)
    step = grid[1] - grid[0]
    return 0.5 + (wave * torch.sin(limit[:, None] * grid) / grid).sum(1) * step / math.pi
