"""Trap 1: a hard thermometer code in front of a linear layer (Buckman et al. 2018)."""

import torch
from torch import Tensor

from medrobust.defense.core.base import Purifier
from tests.support.traps.margin import box
from tests.support.traps.scene import (
    PIXELS,
    SIDE,
    clear,
    generator,
    head,
    uniform_images,
    victim_of,
)
from tests.support.traps.trap import Trap

LEVELS, TURN, EPS, GAP = 16, 10, 0.02, 0.12
CLASSES = 3


class Thermometer(Purifier):
    """Writes every pixel as `levels` channels, of which the first floor(x levels) are one."""

    def __init__(self, levels: int = LEVELS) -> None:
        super().__init__()
        self.levels = levels

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the code (N, levels, H, W)."""
        channel = torch.arange(self.levels).view(1, -1, 1, 1)
        return ((x * self.levels).floor() - channel).clamp(0, 1)


def soft(x: Tensor) -> Tensor:
    """Return the thermometer code with the ramps that the floor function cuts off."""
    channel = torch.arange(LEVELS).view(1, -1, 1, 1)
    return (x * LEVELS - 0.5 - channel).clamp(0, 1)


def build() -> Trap:
    """Make a net whose classes want a pixel near `TURN` levels or far from it.

    The sum of a pixel's weights, all that the bare victim sees of them, points up for pixels that
    ought to go down, and the code's own derivative is zero.
    """
    wish = torch.randn(CLASSES, 1, PIXELS, generator=generator(1)) / PIXELS**0.5
    slope = torch.where(torch.arange(LEVELS) < TURN, 1.0, -1.0).view(1, -1, 1)
    dark, bright = uniform_images(0.1, 0.5, 2), uniform_images(0.75, 0.95, 3)
    pick = torch.rand(dark.shape, generator=generator(4)) < 0.5
    x = torch.where(pick, dark, bright)[:2500]
    defense = Thermometer()
    weight = (wish * slope).reshape(CLASSES, -1)
    network = head(weight, defense.purify(x, seeds=torch.arange(len(x))))
    victim = victim_of(network, LEVELS)
    with torch.no_grad():
        y = victim(defense.purify(x, seeds=torch.arange(len(x)))).argmax(1)
    clean, worst = (least(network[1].weight, network[1].bias, x, y, eps) for eps in (0.0, EPS))
    kept = clear(clean, worst, GAP)

    def gain(image: Tensor, label: Tensor) -> Tensor:
        logits = victim(soft(image))
        own = logits.gather(1, label[:, None])[:, 0]
        return logits.scatter(1, label[:, None], -torch.inf).amax(1) - own

    return Trap(
        "shattered",
        victim,
        defense,
        x[kept],
        y[kept],
        EPS,
        (worst[kept] > 0).double(),
        "the code is piecewise constant: its derivative is zero",
        gain,
    )


@torch.no_grad()
def least(weight: Tensor, bias: Tensor, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return the least lead (N,) over all reachable levels of every pixel, each on its own."""
    steps = weight.double().view(CLASSES, LEVELS, SIDE * SIDE)
    level = torch.cat([torch.zeros(CLASSES, 1, PIXELS), steps.cumsum(1)], dim=1)  # (K, L + 1, P)
    low, high = ((end * LEVELS).floor()[:, None] for end in box(x, eps))
    place = torch.arange(LEVELS + 1).view(1, -1, 1)
    reachable = (place >= low) & (place <= high)
    leads = []
    for other in range(CLASSES):
        apart = (level[y] - level[other]).masked_fill(~reachable, torch.inf)
        lead = apart.amin(1).sum(1) + bias.double()[y] - bias.double()[other]
        leads.append(lead.masked_fill(y == other, torch.inf))
    return torch.stack(leads).amin(0)
