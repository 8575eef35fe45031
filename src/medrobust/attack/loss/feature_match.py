"""Feature matching: make an image's inner representation equal that of another image."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from medrobust.attack.loss.core.clean import Clean, class_to_imitate, clean_features
from medrobust.attack.loss.core.learned import LearnedLoss
from medrobust.attack.loss.core.taps import given, penultimate
from medrobust.number import whole
from medrobust.prediction import Prediction
from medrobust.rng import fold_in, uniform

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate

_STREAM = 0xFEA7  # keeps the draw of a guide apart from the attack's own noise


class FeatureMatch(LearnedLoss):
    """Minus the squared distance between an image's features and those of a guide image.

    Sabour et al. 2016, "Adversarial Manipulation of Deep Representations", eq. 1; the `Fea` attack
    of Medical Aegis. The guide is a training image of the target class (untargeted: of the
    likeliest wrong class of the clean image) that the surrogate classifies right. The distance is a
    mean over each tap's numbers, summed over taps.

    Args:
        taps: modules whose outputs are matched; None = the one that feeds the classifier.
        nearest: each image's guide is the nearest in feature space: matched most closely, but it
            lies nearest to the boundary, too. False draws it by the image's seed.
        per_class: training images of each class to choose guides from, >= 1.
    """

    def __init__(
        self,
        taps: Sequence[str] | None = None,
        *,
        nearest: bool = False,
        per_class: int = 100,
    ) -> None:
        self.names = given(taps)
        self.nearest = nearest
        self.per_class = whole(per_class, "attack.loss.per_class", low=1)
        self._bank: Clean | None = None
        self._guides: dict[str, Tensor] = {}

    @property
    def taps(self) -> tuple[str, ...]:
        """Modules that are configured, or found by `fit`."""
        return self.names if self._bank is None else tuple(self._bank.features)

    def fit(self, surrogate: "Surrogate", data: Any) -> None:
        """Keep the features of training images that are classified right."""
        clean = clean_features(
            surrogate, data, self.per_class, self.names or penultimate, lambda found: found
        )
        right = clean.predicted == clean.labels
        self._bank = Clean(
            clean.labels[right],
            clean.predicted[right],
            {tap: found[right] for tap, found in clean.features.items()},
            clean.classes,
        )
        self.fitted_on = surrogate.fingerprint

    def bind(
        self, surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> Self:
        """Choose a guide for each image."""
        self.check(surrogate, y)
        assert self._bank is not None
        wanted = class_to_imitate(surrogate, x, y, seeds, targeted=targeted)
        count = torch.bincount(self._bank.labels, minlength=self._bank.classes)
        if (count[wanted] == 0).any():
            raise ValueError(
                f"no guide of class {wanted[count[wanted] == 0].unique().tolist()}: the surrogate "
                f"classifies none of its {self.per_class} training images right; raise "
                "attack.loss.per_class or choose another attack/target"
            )
        if self.nearest:
            chosen = self._nearest(surrogate(x, seeds, self.taps), wanted)
        else:
            draw = uniform(fold_in(seeds, _STREAM), (1,))[:, 0].double()
            first = count.cumsum(0) - count  # the bank is sorted by class
            chosen = first[wanted] + (draw * count[wanted]).long()
        bound = copy.copy(self)
        bound._guides = {tap: found[chosen] for tap, found in self._bank.features.items()}
        return bound

    def at(self, index: Tensor) -> Self:
        """The guides of these images."""
        part = copy.copy(self)
        part._guides = {tap: guide[index] for tap, guide in self._guides.items()}
        return part

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Minus the distance to the guide, a wrong class's image."""
        return -_distance(prediction.features, self._guides)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Minus the distance to the guide, an image of the target class."""
        return -_distance(prediction.features, self._guides)

    def _nearest(self, clean: Prediction, wanted: Tensor) -> Tensor:
        """Places in the bank (N,)."""
        assert self._bank is not None
        distance = torch.zeros(
            len(wanted), len(self._bank.labels), dtype=torch.float64, device=wanted.device
        )
        for place in range(distance.shape[1]):  # one at a time: maps would not fit in memory
            guide = {tap: found[place : place + 1] for tap, found in self._bank.features.items()}
            distance[:, place] = _distance(clean.features, guide).double()
        other = self._bank.labels[None] != wanted[:, None]
        return distance.masked_fill_(other, torch.inf).argmin(dim=1)


def _distance(features: Any, guides: dict[str, Tensor]) -> Tensor:
    """Mean square difference per tap, summed over taps: (N,)."""
    parts = [(features[tap] - guide).square().flatten(1).mean(1) for tap, guide in guides.items()]
    return torch.stack(parts).sum(0)
