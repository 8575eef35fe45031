"""Toy detectors before the toys' victims: what an attack that evades is tested on."""

import torch
from torch import Tensor

from medrobust.defense.core.detector import Detector, Observation
from medrobust.rng import fold_in, normal


class Sum(Detector):
    """A weighted sum of the pixels, the same bit by bit in any batch.

    Args:
        weight: (C, H, W).
        threshold: above it an image is refused.
        noise: deviation of the noise in the score.
    """

    def __init__(self, weight: Tensor, threshold: float, noise: float = 0.0) -> None:
        super().__init__()
        self.statistics["weight"] = weight
        self.threshold = torch.tensor(threshold, dtype=weight.dtype)
        self.noise, self.random = noise, noise > 0

    @property
    def settings(self) -> dict[str, object]:
        return {"class": "Sum", "noise": self.noise}

    def anomaly(self, seen: Observation) -> Tensor:
        score = (seen.x * self.statistics["weight"]).flatten(1).sum(1)
        if not self.noise:
            return score
        return score + self.noise * normal(fold_in(seen.seeds, 9), (1,))[:, 0].to(score.dtype)
