"""Trap 7: every draw asks one of two nets, of which one shouts."""

import torch
from torch import Tensor

from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.rng import integers
from tests.support.traps.margin import best_of_two
from tests.support.traps.scene import clear, direction, head, uniform_images, victim_of
from tests.support.traps.trap import Trap

EPS, GAP, LOUD, SHARED, SOFT = 0.029, 0.02, 1000.0, -0.5, 0.02
FIRST, OTHER = 61, 62


class RandomPick(Defense):
    """Answers with the victim or with a second linear net, each with probability 1/2.

    Args:
        shift: bias of the second net.
    """

    random = True
    second: Tensor

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift
        mixed = SHARED * direction(FIRST) + direction(OTHER)
        self.register_buffer("second", mixed / mixed.norm())

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Return the logits of the net that the seed picks."""
        z = (x - 0.5).flatten(1) @ self.second + self.shift
        own = torch.stack([torch.zeros_like(z), z], dim=1)
        return Prediction(torch.where(integers(seeds, 2)[:, None] == 1, own, victim(x)))


def build() -> Trap:
    """Make two nets at odds, and keep images on which either alone can be fooled.

    The mean loss is the loud net's alone once that is fooled, and its gradient never comes to the
    quiet one. Both are fooled together by some images, found by duality; the others keep half.
    """
    x = uniform_images(0.2, 0.8, 63)
    first = direction(FIRST)
    network = head(LOUD * first[None], x)
    victim = victim_of(network)
    defense = RandomPick()
    second = defense.second
    with torch.no_grad():
        a = (x.flatten(1).double() @ network[1].weight.double().T + network[1].bias)[:, 0] / LOUD
        b = (x - 0.5).flatten(1).double() @ second.double()
    y = (a > 0).long()
    side = (1 - 2 * y).double()
    slopes = side[:, None] * first.double(), side[:, None] * second.double()
    both = -best_of_two(*slopes, side * a, side * b, EPS)
    alone = (-side * b - EPS * second.double().abs().sum()).maximum(
        a.abs() - EPS * first.double().abs().sum()
    )
    clean = (a.abs()).minimum(-side * b).minimum(-alone)
    kept = clear(clean, both, GAP)

    def gain(image: Tensor, label: Tensor) -> Tensor:
        turn = 1 - 2 * label
        one = victim(image)[:, 1] / LOUD
        other = (image - 0.5).flatten(1) @ second + defense.shift
        return torch.sigmoid(turn * one / SOFT) + torch.sigmoid(turn * other / SOFT)

    return Trap(
        "random_pick",
        victim,
        defense,
        x[kept],
        y[kept],
        EPS,
        (both[kept] > 0).double() / 2,
        "the loud net fills the mean gradient after it is fooled",
        gain,
    )
