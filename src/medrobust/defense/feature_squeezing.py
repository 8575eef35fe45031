"""Feature squeezing: detection by the change of the prediction under squeezing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medrobust.defense.core.base import Purifier
from medrobust.defense.core.detector import Detector, Observation
from medrobust.model.core.victim import Victim
from medrobust.rng import fold_in


class FeatureSqueezing(Detector):
    """Largest L1 distance between the predictions for an image and its squeezed copies.

    It is Eq. 8 of Xu, Evans and Qi 2018 on softmax probabilities, in [0, 2], and in float64, since
    confident ones saturate in float32. Each squeezer takes one more forward pass. An attacker
    takes the derivative of each squeezer's stand-in.

    Args:
        squeezers: purifiers that remove detail from the image.
        cushion: see `Detector`.
        tnr: see `Detector`.
        fits: see `Detector`.

    Raises:
        ValueError: there is no squeezer.
    """

    def __init__(
        self,
        squeezers: Sequence[Purifier],
        *,
        cushion: Purifier | None = None,
        tnr: float | str = 0.9,
        fits: str | None = None,
    ) -> None:
        super().__init__(cushion=cushion, tnr=tnr, fits=fits)
        if not squeezers:
            raise ValueError("defense.squeezers is empty; name at least one purifier")
        self.squeezers = nn.ModuleList(squeezers)
        self.random = self.random or any(squeezer.random for squeezer in squeezers)

    def fit(self, victim: Victim, datamodule: Any) -> None:
        """Fit the squeezers, then choose the threshold; see `Detector.fit`."""
        for squeezer in self.squeezers:
            squeezer.fit(victim, datamodule)  # type: ignore[operator]
        super().fit(victim, datamodule)

    def _observe(self, x: Tensor, victim: Victim, seeds: Tensor) -> Observation:
        """Run the squeezed copies first, so that an attacker's taps hold the image itself."""
        squeezed = {
            f"squeezed {place}": victim(
                squeezer.differentiable(x, seeds=fold_in(seeds, place))  # type: ignore[operator]
            )
            for place, squeezer in enumerate(self.squeezers)
        }
        return super()._observe(x, victim, seeds)._replace(features=squeezed)

    def anomaly(self, seen: Observation) -> Tensor:
        """Compute the largest distance over the squeezers, in [0, 2]."""
        apart = [_distance(seen.logits, squeezed) for squeezed in seen.features.values()]
        return torch.stack(apart, 1).amax(1)


def _distance(logits: Tensor, others: Tensor) -> Tensor:
    """Compute the L1 distance of two softmax outputs (N, K), float64 (N,).

    Differences sum to zero, so the leading class's is minus the sum of the others, which keep their
    precision when its own probabilities are nearly 1.
    """
    apart = logits.double().softmax(1) - others.double().softmax(1)
    rest = apart.scatter(1, logits.argmax(1, keepdim=True), 0.0)
    return rest.abs().sum(1) + rest.sum(1).abs()
