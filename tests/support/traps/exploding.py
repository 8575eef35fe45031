"""Trap 3: a long iteration whose derivative vanishes with a wrong sign, or explodes."""

import math

import torch
from torch import Tensor, nn

from medrobust.defense.core.base import Purifier
from tests.support.traps.margin import box, least_lead, two_rows
from tests.support.traps.scene import Fold, clear, direction, head, uniform_images, victim_of
from tests.support.traps.trap import Trap

GRID, FORCE, STEPS, EPS, GAP = 8, 1.5, 21, 0.022, 0.025


class Relaxation(Purifier):
    """Pulls every pixel to a grid by damped steps, then maps [0, 1] to [0, 1/2].

    A step is z - force sin(2 pi grid z) / (2 pi grid). At a grid point its slope is 1 - force =
    -1/2, halfway between two it is 1 + force = 5/2.

    Args:
        grid: grid points are multiples of 1 / grid.
        force: see above.
        steps: number of steps.
    """

    def __init__(self, grid: int = GRID, force: float = FORCE, steps: int = STEPS) -> None:
        super().__init__()
        self.grid, self.force, self.steps = grid, force, steps

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the relaxed image in the dark half."""
        turn = 2 * math.pi * self.grid
        z = x
        for _ in range(self.steps):
            z = z - self.force / turn * torch.sin(turn * z)
        return z.clamp(0, 1) / 2


def build() -> Trap:
    """Make a linear score of the relaxed image: the iteration ends at the nearest grid point."""
    x = uniform_images(0.55, 0.98, 21)
    weight = direction(22)
    tail = head(weight[None], 1 - x)
    victim = victim_of(nn.Sequential(Fold(), *tail))
    rows = two_rows(tail[1].weight.detach(), tail[1].bias.detach())

    def least(label: Tensor, eps: float) -> Tensor:
        low, high = ((end * GRID).round() / GRID for end in box(x, eps))
        return least_lead(*rows, 1 - high, 1 - low, label)

    first = least(torch.ones(len(x), dtype=torch.int64), 0.0)
    y = (first > 0).long()
    clean, worst = first.abs(), least(y, EPS)
    kept = clear(clean, worst, GAP)

    def gain(image: Tensor, label: Tensor) -> Tensor:
        logits = victim(image / 2)
        return (logits[:, 1] - logits[:, 0]) * (1 - 2 * label)

    return Trap(
        "exploding",
        victim,
        Relaxation(),
        x[kept],
        y[kept],
        EPS,
        (worst[kept] > 0).double(),
        "the chain rule multiplies 21 slopes: tiny and often negative on plateaus, huge between",
        gain,
    )
