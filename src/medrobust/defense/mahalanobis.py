"""Mahalanobis distance to the nearest class."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medrobust.defense.core.base import Purifier
from medrobust.defense.core.layered import LayerDetector
from medrobust.model.core.conv import steady_linear
from medrobust.number import fraction


class Mahalanobis(LayerDetector):
    """Squared distance to the nearest class's Gaussian (Lee et al. 2018, Eq. 2).

    Every layer has one mean per class and one covariance for all. Directions without variance, as
    with fewer images than channels, are ignored, as by the pseudo-inverse of scikit-learn's
    `EmpiricalCovariance`. The paper weights the layers by a logistic regression on adversarial
    images; here they are averaged, as in Medical Aegis.

    The optional step toward the nearest class before scoring (Lee et al. 2018, Algorithm 1) is
    left out: its size was tuned on adversarial images, and it doubles the cost.

    Args:
        taps: tap layers.
        cutoff: minimum variance of a direction, as a share of the largest; others are ignored.
        cushion: see `Detector`.
        tnr: see `Detector`.
        fits: see `Detector`.
    """

    least = 2

    def __init__(
        self,
        taps: Sequence[str],
        cutoff: float | str = 1e-6,
        *,
        cushion: Purifier | None = None,
        tnr: float | str = 0.9,
        fits: str | None = None,
    ) -> None:
        super().__init__(taps, cushion=cushion, tnr=tnr, fits=fits)
        self.cutoff = fraction(cutoff, "defense.cutoff")

    def learn_layer(self, layer: int, features: Tensor, labels: Tensor, classes: int) -> None:
        """Learn the class means and a whitening of the covariance, in float64."""
        features = features.double()
        one_of = functional.one_hot(labels, classes).double()
        means = (one_of.T @ features) / one_of.sum(0)[:, None]
        centred = features - means[labels]
        variance, ways = torch.linalg.eigh(centred.T @ centred / len(features))
        kept = variance > self.cutoff * variance[-1].clamp(min=torch.finfo(variance.dtype).tiny)
        white = (ways[:, kept] / variance[kept].sqrt()).T
        middle = features.mean(0)  # subtracted first, to preserve float32 precision
        self.statistics[f"middle_{layer}"] = middle.float()
        self.statistics[f"white_{layer}"] = white.float().contiguous()
        self.statistics[f"means_{layer}"] = ((means - middle) @ white.T).float()

    def layer_score(self, layer: int, features: Tensor, predicted: Tensor) -> Tensor:
        """Compute the least squared distance to a class mean."""
        stored = self.statistics
        white = steady_linear(
            features - stored[f"middle_{layer}"], stored[f"white_{layer}"], bias=None
        )
        away = white[:, None] - stored[f"means_{layer}"]
        return away.square().sum(2).amin(1)
