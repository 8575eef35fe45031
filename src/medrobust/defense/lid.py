"""Local intrinsic dimensionality of features."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medrobust.defense.core.base import Purifier
from medrobust.defense.core.layered import LayerDetector, squared_distances
from medrobust.number import NumberError, whole


class LID(LayerDetector):
    """Local intrinsic dimensionality among clean training images (Ma et al. 2018, Eq. 4).

    The score is the maximum-likelihood estimate from an image's `k` nearest neighbours in a
    minibatch. The paper takes the test minibatch; here it is averaged over `batches` minibatches of
    the training split, so that an image's score does not depend on its batch. The paper weights the
    layers by a logistic regression on adversarial and noisy images; here they are averaged, as in
    Medical Aegis.

    Args:
        taps: tap layers.
        k: number of neighbours.
        batch: images per minibatch.
        batches: number of minibatches; fewer if the training split is too small.
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
        """Store whole minibatches, or all images if they do not fill one.

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
        """Compute the mean of the estimates over the minibatches."""
        known = self.statistics[f"features_{layer}"]
        size = min(self.batch, len(known))
        apart = squared_distances(features - self.statistics[f"middle_{layer}"], known)
        return dimensionality(apart.unflatten(1, (-1, size)), self.k).mean(1)


def dimensionality(squares: Tensor, k: int) -> Tensor:
    """Compute -(1/k Σ log(r_i / r_k))⁻¹ of the k smallest distances r, along the last dimension.

    Zero distances are replaced by the smallest positive number, so that a known image has a finite
    dimensionality.

    Args:
        squares: squared distances (..., M), M >= k.
        k: number of neighbours.
    """
    nearest = squares.topk(k, dim=-1, largest=False).values
    nearest = nearest.clamp(min=torch.finfo(squares.dtype).tiny)
    steps = 0.5 * (nearest / nearest[..., -1:]).log().mean(-1)
    return -1 / steps.clamp(max=-torch.finfo(squares.dtype).eps)
