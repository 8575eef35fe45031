"""Trap 4: a step function of the difference of neighbouring pixels."""

import torch
from torch import Tensor

from medrobust.defense.core.base import Purifier
from tests.support.traps.margin import box, least_lead, two_rows
from tests.support.traps.scene import SIDE, clear, direction, head, uniform_images, victim_of
from tests.support.traps.trap import Trap

EPS, GAP = 0.05, 0.05


class BinaryPattern(Purifier):
    """Replaces a pair of neighbours by one where the left one is brighter, else by zero."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the pattern at the size of the image, every bit twice."""
        bit = (torch.sign(x[..., 0::2] - x[..., 1::2]) + 1) / 2
        return bit.repeat_interleave(2, dim=3)


def build() -> Trap:
    """Make a linear score of the bits, each of which the ball flips or not, on its own."""
    x = uniform_images(-0.1, 1.1, 31).clamp(0, 1)
    weight = direction(32)
    defense = BinaryPattern()
    network = head(weight[None], defense.purify(x, seeds=torch.arange(len(x))))
    victim = victim_of(network)
    rows = two_rows(network[1].weight.detach(), network[1].bias.detach())

    def least(label: Tensor, eps: float) -> Tensor:
        low, high = (end.view(-1, SIDE, SIDE // 2, 2) for end in box(x, eps))
        down, up = low[..., 0] - high[..., 1], high[..., 0] - low[..., 1]
        bits = ((torch.sign(end) + 1) / 2 for end in (down, up))
        ends = (bit.repeat_interleave(2, dim=2).flatten(1) for bit in bits)
        pairs = rows[0].view(2, -1, 2).sum(2).repeat_interleave(2, dim=1) / 2
        return least_lead(pairs, rows[1], *ends, label)

    first = least(torch.ones(len(x), dtype=torch.int64), 0.0)
    y = (first > 0).long()
    clean, worst = first.abs(), least(y, EPS)
    kept = clear(clean, worst, GAP)

    def gain(image: Tensor, label: Tensor) -> Tensor:
        apart = (image[..., 0::2] - image[..., 1::2]).repeat_interleave(2, dim=3)
        logits = victim(apart)
        return (logits[:, 1] - logits[:, 0]) * (1 - 2 * label)

    return Trap(
        "thresholded",
        victim,
        defense,
        x[kept],
        y[kept],
        EPS,
        (worst[kept] > 0).double(),
        "a sign has derivative zero, and raising both pixels of a pair changes no bit",
        gain,
    )
