"""The hierarchical feature constraint: hide an attack in the features of a clean class."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from medrobust.attack.objective.base import Objective
from medrobust.attack.objective.clean import Clean, class_to_imitate, clean_features
from medrobust.attack.objective.cross_entropy import CrossEntropy
from medrobust.attack.objective.gmm import Mixture, fit
from medrobust.attack.objective.learned import LearnedObjective
from medrobust.attack.objective.taps import activations, given
from medrobust.number import fraction, whole
from medrobust.prediction import Prediction

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate

_FLOOR = 1e-3
"""Added to every variance, in units of the layer's mean variance over all classes: else channels
that never fire on clean images would outweigh all others."""


class HFC(LearnedObjective):
    """A base loss toward a class plus the likelihood of many layers' features in it.

    Yao et al. 2021, "A Hierarchical Feature Constraint to Camouflage Medical Adversarial Attacks":
    per layer a mixture of Gaussians is fitted to the spatial means of the target class's clean
    features; the attack climbs the log-likelihood of the best component. Here covariances are
    diagonal, and a layer's likelihood is divided by its number of channels, so that wide layers do
    not decide alone. Of a random surrogate the features are means over its draws.

    The paper's attacks are targeted. Without a target each image aims at the likeliest wrong class
    of its clean self, with the base loss as with the constraint: away from the true class alone,
    that loss would hardly pull while the image is classified right, and the constraint would hold
    it there.

    Args:
        taps: modules whose outputs are constrained; None = all activations.
        base: loss that the constraint is added to; None = cross-entropy.
        weight: of the sum over layers, >= 0.
        components: Gaussians per layer and class, >= 1.
        per_class: most training images that a mixture is fitted to.
    """

    def __init__(
        self,
        taps: Sequence[str] | None = None,
        *,
        base: Objective | None = None,
        weight: float = 1.0,
        components: int = 4,
        per_class: int = 500,
    ) -> None:
        self.names = given(taps)
        self.base = base or CrossEntropy()
        self.weight = fraction(weight, "attack.objective.weight", high=1e6)
        self.components = whole(components, "attack.objective.components", low=1)
        self.per_class = whole(per_class, "attack.objective.per_class", low=1)
        self._mixtures: dict[str, Mixture] = {}  # K mixtures each
        self._count = torch.zeros(0)
        self._classes = torch.zeros(0, dtype=torch.int64)

    @property
    def evades(self) -> bool:  # type: ignore[override]
        """As the base loss."""
        return self.base.evades

    @property
    def taps(self) -> tuple[str, ...]:
        """Those of the constraint, as configured or found by `fit`, and those of the base loss."""
        return tuple(dict.fromkeys([*(self._mixtures or self.names), *self.base.taps]))

    def fit(self, surrogate: "Surrogate", data: Any) -> None:
        """Fit a mixture per layer and class."""
        self.base.fit(surrogate, data)
        taps = self.names or activations
        clean = clean_features(surrogate, data, self.per_class, taps, pooled)
        self._count = torch.bincount(clean.labels, minlength=clean.classes)
        if self._count.max() < self.components:
            raise ValueError(
                f"attack.objective.components={self.components}, but no class has more than "
                f"{int(self._count.max())} training images: lower it"
            )
        self._mixtures = {tap: self._fit(clean, tap) for tap in clean.features}
        self.fitted_on = surrogate.fingerprint

    def _fit(self, clean: Clean, tap: str) -> Mixture:
        """Mixtures (K, ...); a class with too few images has that of another, and is refused."""
        features = clean.features[tap].double()
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
                f"attack.objective.components={self.components}: lower it"
            )
        bound = copy.copy(self)
        bound.base = self.base.bind(surrogate, x, classes, seeds, targeted=True)
        bound._classes = classes
        return bound

    def at(self, index: Tensor) -> Self:
        """The classes of these images."""
        part = copy.copy(self)
        part.base, part._classes = self.base.at(index), self._classes[index]
        return part

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """As `toward`, for the likeliest wrong classes of the clean images."""
        return self.toward(prediction, self._classes)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The base loss toward `target`, plus the weighted likelihood in that class."""
        return self.base.toward(prediction, target) + self.weight * self.likelihood(prediction)

    def likelihood(self, prediction: Prediction) -> Tensor:
        """Log-likelihood of the best component per channel, summed over layers: (N,)."""
        parts = []
        for tap, mixtures in self._mixtures.items():
            features = pooled(prediction.features[tap]).to(mixtures.mean.dtype)
            joint = mixtures.at(self._classes).log_joint(features.unsqueeze(1)).squeeze(1)
            parts.append(joint.max(dim=1).values / features.shape[1])
        return torch.stack(parts).sum(0)


def pooled(features: Tensor) -> Tensor:
    """Mean over positions: (N, C, ...) -> (N, C)."""
    return features if features.ndim == 2 else features.flatten(2).mean(2)
