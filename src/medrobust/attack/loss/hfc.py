"""The hierarchical feature constraint: hide an attack in the features of a clean class."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from medrobust.attack.core.loss import Loss
from medrobust.attack.loss.core.clean import Clean, class_to_imitate, clean_features
from medrobust.attack.loss.core.gmm import Mixture, fit
from medrobust.attack.loss.core.learned import LearnedLoss
from medrobust.attack.loss.core.taps import activations, given
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.model.core.conv import steady_linear
from medrobust.number import fraction, whole
from medrobust.prediction import Prediction

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate

_FLOOR = 1e-3
"""Added to every variance, in units of the layer's mean variance over all classes: else directions
in which clean images never vary would outweigh all others."""


class HFC(LearnedLoss):
    """A base loss toward a class plus the likelihood of many layers' features in it.

    Yao et al. 2021, "A Hierarchical Feature Constraint to Camouflage Medical Adversarial Attacks":
    per layer a mixture of Gaussians is fitted to the spatial means of the target class's clean
    features; the attack climbs the log-likelihood of the best component. Here all covariances of a
    layer share their principal axes, those of the scatter within classes, along which each
    component has variances of its own: correlated channels are seen as such with few images, and a
    detector that measures distance in those axes (Lee et al. 2018) is hidden from. Blind to
    correlations (variances per channel), the attack did not escape it. A layer's likelihood is
    divided by its number of channels, so that wide layers do not decide alone, and layers are
    averaged, so that the weight means the same for a deep network. Of a randomized surrogate the
    features are means over its draws.

    The paper's attacks are targeted. Without a target each image aims at the likeliest wrong class
    of its clean self, with the base loss as with the constraint: away from the true class alone,
    that loss would hardly pull while the image is classified right, and the constraint would hold
    it there.

    Args:
        taps: modules whose outputs are constrained; None = all activations.
        base: loss that the constraint is added to; None = cross-entropy.
        weight: of the mean over layers, >= 0. Far above the default the constraint holds images
            where they are: on a weak victim 34 times as much let 8 % be fooled instead of all.
        components: Gaussians per layer and class, >= 1.
        per_class: most training images that a mixture is fitted to.
    """

    def __init__(
        self,
        taps: Sequence[str] | None = None,
        *,
        base: Loss | None = None,
        weight: float = 0.5,
        components: int = 4,
        per_class: int = 500,
    ) -> None:
        self.names = given(taps)
        self.base = base or CrossEntropy()
        self.weight = fraction(weight, "attack.loss.weight", high=1e6)
        self.components = whole(components, "attack.loss.components", low=1)
        self.per_class = whole(per_class, "attack.loss.per_class", low=1)
        self._axes: dict[str, Tensor] = {}  # (D, D), a row per axis
        self._mixtures: dict[str, Mixture] = {}  # K mixtures each, along the axes
        self._count = torch.zeros(0)
        self._classes = torch.zeros(0, dtype=torch.int64)

    @property
    def evades(self) -> bool:  # type: ignore[override]
        """The base loss's own."""
        return self.base.evades

    @property
    def taps(self) -> tuple[str, ...]:
        """Those of the constraint, as configured or found by `fit`, and those of the base loss."""
        return tuple(dict.fromkeys([*(self._mixtures or self.names), *self.base.taps]))

    def fit(self, surrogate: "Surrogate", data: Any) -> None:
        """Find each layer's axes, and fit a mixture along them for each class."""
        self.base.fit(surrogate, data)
        taps = self.names or activations
        clean = clean_features(surrogate, data, self.per_class, taps, pooled)
        self._count = torch.bincount(clean.labels, minlength=clean.classes)
        if self._count.max() < self.components:
            raise ValueError(
                f"attack.loss.components={self.components}, but no class has more than "
                f"{int(self._count.max())} training images: lower it"
            )
        axes = {tap: principal_axes(found, clean.labels) for tap, found in clean.features.items()}
        self._mixtures = {tap: self._fit(clean, tap, axes[tap]) for tap in axes}
        self._axes = {tap: rows.to(self._mixtures[tap].mean) for tap, rows in axes.items()}
        self.fitted_on = surrogate.fingerprint

    def _fit(self, clean: Clean, tap: str, axes: Tensor) -> Mixture:
        """Mixtures (K, ...); a class with too few images has that of another, and is refused."""
        features = clean.features[tap].double() @ axes.T
        floor = max(_FLOOR * float(features.var(dim=0, correction=0).mean()), 1e-12)
        enough = self._count >= self.components
        found = [
            fit(features[clean.labels == label], self.components, floor=floor)
            for label in enough.nonzero().flatten()
        ]
        place = enough.long().cumsum(0).sub(1).clamp(min=0)
        width = torch.promote_types(clean.features[tap].dtype, torch.float32)
        return Mixture(*(torch.stack(parts).to(width)[place] for parts in zip(*found, strict=True)))

    def bind(
        self, surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> Self:
        """Choose each image's class to hide in."""
        self.check(surrogate, y)
        classes = class_to_imitate(surrogate, x, y, seeds, targeted=targeted)
        few = self._count[classes] < self.components
        if few.any():
            raise ValueError(
                f"class {classes[few].unique().tolist()} has fewer training images than "
                f"attack.loss.components={self.components}: lower it"
            )
        bound = copy.copy(self)
        bound.derive(base=self.base.bind(surrogate, x, classes, seeds, targeted=True))
        bound._classes = classes
        return bound

    def at(self, index: Tensor) -> Self:
        """The classes of these images."""
        part = copy.copy(self)
        part.derive(base=self.base.at(index))
        part._classes = self._classes[index]
        return part

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Return `toward` for the likeliest wrong classes of the clean images."""
        return self.toward(prediction, self._classes)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The base loss toward `target`, plus the weighted likelihood in that class."""
        return self.base.toward(prediction, target) + self.weight * self.likelihood(prediction)

    def likelihood(self, prediction: Prediction) -> Tensor:
        """Log-likelihood of the best component per channel, mean over layers: (N,)."""
        parts = []
        for tap, mixtures in self._mixtures.items():
            features = pooled(prediction.features[tap]).to(mixtures.mean.dtype)
            features = steady_linear(features, self._axes[tap], bias=None)
            joint = mixtures.at(self._classes).log_joint(features.unsqueeze(1)).squeeze(1)
            parts.append(joint.max(dim=1).values / features.shape[1])
        return torch.stack(parts).mean(0)


def principal_axes(features: Tensor, labels: Tensor) -> Tensor:
    """Eigenvectors of the scatter of features (M, D) about their classes' means: float64 (D, D).

    One row per axis, rising in variance.
    """
    features = features.double()
    one_of = functional.one_hot(labels).double()
    means = (one_of.T @ features) / one_of.sum(0).clamp(min=1)[:, None]
    centred = features - means[labels]
    return torch.linalg.eigh(centred.T @ centred).eigenvectors.T


def pooled(features: Tensor) -> Tensor:
    """Mean over positions: (N, C, ...) -> (N, C)."""
    return features if features.ndim == 2 else features.flatten(2).mean(2)
