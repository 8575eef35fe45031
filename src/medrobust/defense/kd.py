"""Kernel density of features in the predicted class."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medrobust.defense.core.base import Purifier
from medrobust.defense.core.layered import LayerDetector, squared_distances
from medrobust.number import fraction, whole


class KernelDensity(LayerDetector):
    """Low density among training images of the predicted class (Feinman et al. 2017, Eq. 4).

    The kernel is Gaussian, on the features of each class by true labels. The score is minus the log
    density, which neither underflows nor loses its gradient far from all images.

    Args:
        taps: tap layers.
        bandwidth: bandwidth of the kernel.
        most: maximum number of images kept of each class; null for all.
        cushion: see `Detector`.
        tnr: see `Detector`.
        fits: see `Detector`.
    """

    def __init__(
        self,
        taps: Sequence[str],
        bandwidth: float = 0.26,
        most: int | None = None,
        *,
        cushion: Purifier | None = None,
        tnr: float | str = 0.9,
        fits: str | None = None,
    ) -> None:
        super().__init__(taps, cushion=cushion, tnr=tnr, fits=fits)
        self.bandwidth = fraction(bandwidth, "defense.bandwidth", high=1e6, above=True)
        self.most = None if most is None else whole(most, "defense.most", low=1)

    def learn_layer(self, layer: int, features: Tensor, labels: Tensor, classes: int) -> None:
        """Store the centred features."""
        middle = features.mean(0)
        self.statistics[f"middle_{layer}"] = middle
        self.statistics[f"features_{layer}"] = features - middle
        self.statistics[f"labels_{layer}"] = labels

    def layer_score(self, layer: int, features: Tensor, predicted: Tensor) -> Tensor:
        """Compute minus the log density, equal to that of scikit-learn's `KernelDensity`."""
        known, labels = self.statistics[f"features_{layer}"], self.statistics[f"labels_{layer}"]
        apart = squared_distances(features - self.statistics[f"middle_{layer}"], known)
        same = labels == predicted[:, None]
        heights = (-0.5 / self.bandwidth**2 * apart).masked_fill(~same, -math.inf)
        scale = features.shape[1] * math.log(self.bandwidth * math.sqrt(2 * math.pi))
        return same.sum(1).to(heights.dtype).log() + scale - torch.logsumexp(heights, 1)
