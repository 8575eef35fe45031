"""Trap 10: a temperature that saturates the softmax, and logits in whole numbers."""

import torch
from torch import Tensor

from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from tests.support.traps.margin import box, least_lead
from tests.support.traps.scene import (
    PIXELS,
    clear,
    generator,
    head,
    uniform_images,
    victim_of,
)
from tests.support.traps.trap import Trap

CLASSES, HEAT, EPS, GAP = 3, 1e4, 0.045, 0.04


class RoundedLogits(Defense):
    """Answers with the victim's logits, rounded to whole numbers."""

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Return the rounded logits."""
        return Prediction(victim(x).round())


def build() -> Trap:
    """Make a linear net with logits in the hundreds, on images with black and white pixels."""
    x = uniform_images(-0.3, 1.3, 91).clamp(0, 1)
    weight = torch.randn(CLASSES, PIXELS, generator=generator(92)) / PIXELS**0.5
    network = head(HEAT * weight, x)
    victim = victim_of(network)
    with torch.no_grad():
        y = victim(x).argmax(1)
    rows = network[1].weight.detach(), network[1].bias.detach()
    clean, worst = (least_lead(*rows, *box(x, eps), y) / HEAT for eps in (0.0, EPS))
    kept = clear(clean, worst, GAP)

    def gain(image: Tensor, label: Tensor) -> Tensor:
        logits = victim(image)
        own = logits.gather(1, label[:, None])[:, 0]
        return logits.scatter(1, label[:, None], -torch.inf).amax(1) - own

    return Trap(
        "rounded",
        victim,
        RoundedLogits(),
        x[kept],
        y[kept],
        EPS,
        (worst[kept] > 0).double(),
        "cross-entropy underflows to zero, and rounding hides the margin from any other loss",
        gain,
    )
