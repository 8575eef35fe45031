"""Any objective on logits that were brought to a common scale first."""

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from medrobust.attack.core.goal import Goal
from medrobust.attack.objective.base import Objective, per_image
from medrobust.attack.objective.cross_entropy import CrossEntropy
from medrobust.attack.success import Misclassified
from medrobust.number import fraction
from medrobust.prediction import Prediction

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate


class Rescaled(Objective):
    """`objective` on logits divided by a constant of each image, so that they span `spread`.

    Saturated logits leave the cross-entropy no gradient in floating point; Carlini and Wagner
    2016, "Defensive Distillation is Not Robust to Adversarial Examples", divide them by a constant
    and find the adversarial images again. The constant here is the largest minus the smallest
    logit of the clean image (over pixels: the mean), measured once, so that losses along an attack
    stay comparable; the model's scale has no say any more.

    Args:
        objective: what is maximised; None = cross-entropy.
        spread: range of the clean image's logits after rescaling, in (0, 80]; beyond 80 the
            softmax of float32 underflows.
    """

    def __init__(self, objective: Objective | None = None, spread: float = 10.0) -> None:
        self.objective = objective or CrossEntropy()
        self.spread = fraction(spread, "objective.spread", high=80.0, above=True)
        self.scale: Tensor | None = None

    @property
    def learns(self) -> bool:  # type: ignore[override]
        """As the objective inside."""
        return self.objective.learns

    @property
    def evades(self) -> bool:  # type: ignore[override]
        """As the objective inside."""
        return self.objective.evades

    @property
    def taps(self) -> tuple[str, ...]:
        """As the objective inside."""
        return self.objective.taps

    def fit(self, surrogate: "Surrogate", data: Any) -> None:
        """Fit the objective inside."""
        self.objective.fit(surrogate, data)

    def bind(
        self, surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> Self:
        """Measure the clean logits, at the price of one forward pass."""
        bound = copy(self)
        bound.objective = self.objective.bind(surrogate, x, y, seeds, targeted=targeted)
        measure = Goal(_Spread(), Misclassified(), y)  # a random surrogate averages it by draw
        spread, _ = surrogate.value(x, measure, seeds=seeds)
        bound.scale = self.spread / spread.clamp(min=1e-12)
        return bound

    def at(self, index: Tensor) -> Self:
        """The objective for some of the bound images."""
        part = copy(self)
        part.objective = self.objective.at(index)
        part.scale = self._bound_scale()[index]
        return part

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """The objective's `away`, of the rescaled logits."""
        return self.objective.away(self._rescaled(prediction), y)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The objective's `toward`, of the rescaled logits."""
        return self.objective.toward(self._rescaled(prediction), target)

    def _rescaled(self, prediction: Prediction) -> Prediction:
        logits = prediction.logits
        scale = self._bound_scale().view(-1, *[1] * (logits.ndim - 1))
        return replace(prediction, logits=logits * scale)

    def _bound_scale(self) -> Tensor:
        if self.scale is None:
            raise RuntimeError(
                "Rescaled measures the clean images of a batch first: call bind, as every attack "
                "does when it gets its batch"
            )
        return self.scale


class _Spread(Objective):
    """Largest minus smallest logit, whatever the label."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        logits = prediction.logits
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return per_image(logits.amax(dim=1) - logits.amin(dim=1))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        return self.away(prediction, target)
