"""Local intrinsic dimensionality of features."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medrobust.defense.core.base import Purifier
from medrobust.defense.core.layered import LayerDetector, squared_distances
from medrobust.number import NumberError, whole


class LID(LayerDetector):
    """Local intrinsic dimensionality among clean training images (Ma et al. 2018, Eq. 4).

    The maximum-likelihood estimate from an image's `k` nearest neighbours in a minibatch. There
    the minibatch is that of the test; here minibatches of the training split stand for it, so
    that an image's score does not depend on its company, and the estimates are averaged over
    `batches` of them. There a logistic regression, learned from adversarial and noisy images,
    weighs the layers; here they are averaged without one, as Medical Aegis does.

    Args:
        taps: layers.
        k: neighbours.
        batch: images in a minibatch.
        batches: minibatches; fewer when the training split is too small for them.
        cushion: see `Detector`.
        tnr: see `Detector`.
        fits: see `Detector`.
    """

    def __init__(
        self,
        taps: Sequence[str],
        k: int = 20,
        batch: int = 100,
        batches: int = 10,
        *,
        cushion: Purifier | None = None,
        tnr: float | str = 0.9,
        fits: str | None = None,
    ) -> None:
        super().__init__(taps, cushion=cushion, tnr=tnr, fits=fits)
        self.k = whole(k, "defense.k", low=2)
        self.batch = whole(batch, "defense.batch", low=self.k)
        self.batches = whole(batches, "defense.batches", low=1)

    def learn_layer(self, layer: int, features: Tensor, labels: Tensor, classes: int) -> None:
        """Keep whole minibatches, or all images where they do not fill one.

        Raises:
            NumberError: there are fewer images than neighbours.
        """
        if len(features) < self.k:
            raise NumberError(
                f"defense.k={self.k} neighbours, but split train has {len(features)} images; "
                "lower it or raise data.limit_train"
            )
        size = min(self.batch, len(features))
        count = min(self.batches, len(features) // size)
        known = features[: count * size]
        self.statistics[f"middle_{layer}"] = known.mean(0)
        self.statistics[f"features_{layer}"] = known - known.mean(0)

    def layer_score(self, layer: int, features: Tensor, predicted: Tensor) -> Tensor:
        """Mean of the estimates over the minibatches."""
        known = self.statistics[f"features_{layer}"]
        size = min(self.batch, len(known))
        apart = squared_distances(features - self.statistics[f"middle_{layer}"], known)
        return dimensionality(apart.unflatten(1, (-1, size)), self.k).mean(1)


def dimensionality(squares: Tensor, k: int) -> Tensor:
    """-(1/k Σ log(r_i / r_k))⁻¹ of the k least distances r along the last dimension.

    Distances of zero count as the least positive number, so that a known image has a finite
    dimensionality.

    Args:
        squares: of distances (..., M), M >= k.
        k: neighbours.
    """
    nearest = squares.topk(k, dim=-1, largest=False).values
    nearest = nearest.clamp(min=torch.finfo(squares.dtype).tiny)
    steps = 0.5 * (nearest / nearest[..., -1:]).log().mean(-1)
    return -1 / steps.clamp(max=-torch.finfo(squares.dtype).eps)
