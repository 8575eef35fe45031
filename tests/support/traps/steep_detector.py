"""Trap 6: a detector whose score is flat on both sides of a steep wall."""

import torch
from torch import Tensor

from medrobust.defense.core.detector import Detector, Observation
from tests.support.traps.ascent import soft_least
from tests.support.traps.margin import least_within
from tests.support.traps.scene import clear, direction, head, uniform_images, victim_of
from tests.support.traps.trap import Trap

EPS, GAP, LIMIT, STEEP = 0.022, 0.02, 0.06, 1e5
SCORE, PROBE = 51, 52


class SteepScore(Detector):
    """Scores how far a linear probe of the image is from its clean mean, by a steep sigmoid.

    Args:
        limit: distance at which the score is 1/2, the threshold.
        steep: slope of the sigmoid.
    """

    probe: Tensor

    def __init__(self, limit: float = LIMIT, steep: float = STEEP) -> None:
        super().__init__()
        self.limit, self.steep = limit, steep
        mixed = direction(SCORE) + direction(PROBE)
        self.register_buffer("probe", mixed / mixed.norm())
        self.threshold.fill_(0.5)

    def anomaly(self, seen: Observation) -> Tensor:
        """Return the score (N,): zero or one in float32 but for a thin wall."""
        return torch.sigmoid(self.steep * (self.distance(seen.x) - self.limit))

    def distance(self, x: Tensor) -> Tensor:
        """Return the distance (N,) of the probe from that of a grey image."""
        return ((x - 0.5).flatten(1) @ self.probe).abs()


def build() -> Trap:
    """Make a linear score that shares half of its direction with the detector's probe."""
    x = uniform_images(0.2, 0.8, 53)
    weight = direction(SCORE)
    network = head(weight[None], x)
    victim = victim_of(network)
    defense = SteepScore()
    layer = network[1]
    with torch.no_grad():
        score = (x.flatten(1).double() @ layer.weight.double().T + layer.bias.double())[:, 0]
    y = (score > 0).long()
    side = (2 * y - 1).double()
    centred = (x - 0.5).flatten(1).double() @ defense.probe.double()
    slope = side[:, None] * weight.double()
    bound = defense.probe.double().expand_as(slope)
    worst = least_within(slope, bound, score.abs(), centred, LIMIT, EPS)
    kept = clear(score.abs().minimum(LIMIT - centred.abs()), worst, GAP)

    def gain(image: Tensor, label: Tensor) -> Tensor:
        logits = victim(image)
        wrong = (logits[:, 1] - logits[:, 0]) * (1 - 2 * label)
        return soft_least(wrong, LIMIT - defense.distance(image))

    return Trap(
        "steep_detector",
        victim,
        defense,
        x[kept],
        y[kept],
        EPS,
        (worst[kept] > 0).double(),
        "the score says nothing until the image is detected",
        gain,
    )
