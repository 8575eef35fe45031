"""Trap 9: a cheap head answers where it is confident, and the deep one is never asked."""

import torch
from torch import Tensor

from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from tests.support.traps.ascent import soft_least
from tests.support.traps.margin import best_of_two
from tests.support.traps.scene import clear, direction, head, uniform_images, victim_of
from tests.support.traps.trap import Trap

EPS, GAP, EXIT, SHARP = 0.032, 0.02, 0.1, 1e4
DEEP, CHEAP = 81, 82


class EarlyExit(Defense):
    """Answers with a cheap linear head where its score is far from zero, else with the victim.

    Args:
        exit_at: absolute score from which the cheap head answers.
        sharp: factor from its score to its logit.
    """

    cheap: Tensor

    def __init__(self, exit_at: float = EXIT, sharp: float = SHARP) -> None:
        super().__init__()
        self.exit_at, self.sharp = exit_at, sharp
        self.register_buffer("cheap", direction(CHEAP))

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Return the logits of the head that answers."""
        score = (x - 0.5).flatten(1) @ self.cheap
        first = torch.stack([torch.zeros_like(score), self.sharp * score], dim=1)
        return Prediction(torch.where((score.abs() >= self.exit_at)[:, None], first, victim(x)))


def build() -> Trap:
    """Make images on which the cheap head is sure, so that its loss has underflown to zero.

    An image is fooled where both heads agree to it: the cheap one in doubt and the deep one wrong,
    or the cheap one sure of another class, whatever the deep one says.
    """
    x = uniform_images(0.2, 0.8, 83)
    deep = direction(DEEP)
    network = head(deep[None], x)
    victim = victim_of(network)
    defense = EarlyExit()
    cheap = defense.cheap
    with torch.no_grad():
        a = (x.flatten(1).double() @ network[1].weight.double().T + network[1].bias)[:, 0]
        b = (x - 0.5).flatten(1).double() @ cheap.double()
    y = (b > 0).long()
    side = (1 - 2 * y).double()
    slopes = side[:, None] * deep.double(), side[:, None] * cheap.double()
    handed_on = best_of_two(*slopes, side * a, side * b + EXIT, EPS)
    sure = side * b - EXIT + EPS * cheap.double().abs().sum()
    worst = -handed_on.maximum(sure)
    kept = clear((-side * b - EXIT).minimum(-side * a), worst, GAP)

    def gain(image: Tensor, label: Tensor) -> Tensor:
        turn = 1 - 2 * label
        one = turn * victim(image)[:, 1]
        other = turn * ((image - 0.5).flatten(1) @ cheap)
        return soft_least(one, other + EXIT)

    return Trap(
        "early_exit",
        victim,
        defense,
        x[kept],
        y[kept],
        EPS,
        (worst[kept] > 0).double(),
        "the sure head has no gradient, and the bare victim's leads past it",
        gain,
    )
