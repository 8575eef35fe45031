"""Any loss on logits that were brought to a common scale first."""

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from medrobust.attack.core.goal import Goal
from medrobust.attack.core.loss import Loss, per_image
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.number import fraction
from medrobust.prediction import Prediction

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate


class Rescaled(Loss):
    """`loss` on logits divided by a constant of each image, so that they span `spread`.

    Saturated logits leave the cross-entropy no gradient in floating point; Carlini and Wagner
    2016, "Defensive Distillation is Not Robust to Adversarial Examples", divide them by a constant
    and find the adversarial images again. The constant here is the largest minus the smallest
    logit of the clean image (over pixels: the mean), measured once, so that losses along an attack
    stay comparable; the model's scale has no say any more.

    Args:
        loss: what is maximised; None = cross-entropy.
        spread: range of the clean image's logits after rescaling, in (0, 80]; beyond 80 the
            softmax of float32 underflows.
    """

    def __init__(self, loss: Loss | None = None, spread: float = 10.0) -> None:
        self.loss = loss or CrossEntropy()
        self.spread = fraction(spread, "attack.loss.spread", high=80.0, above=True)
        self.scale: Tensor | None = None

    @property
    def learns(self) -> bool:  # type: ignore[override]
        """The inner loss's own."""
        return self.loss.learns

    @property
    def evades(self) -> bool:  # type: ignore[override]
        """The inner loss's own."""
        return self.loss.evades

    @property
    def taps(self) -> tuple[str, ...]:
        """The inner loss's own."""
        return self.loss.taps

    def fit(self, surrogate: "Surrogate", data: Any) -> None:
        """Fit the loss inside."""
        self.loss.fit(surrogate, data)

    def bind(
        self, surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> Self:
        """Measure the clean logits, at the price of one forward pass."""
        bound = copy(self)
        bound.derive(loss=self.loss.bind(surrogate, x, y, seeds, targeted=targeted))
        measure = Goal(_Spread(), Misclassified(), y)  # a randomized surrogate averages it by draw
        spread, _ = surrogate.value(x, measure, seeds=seeds)
        bound.scale = self.spread / spread.clamp(min=1e-12)
        return bound

    def at(self, index: Tensor) -> Self:
        """The loss for some of the bound images."""
        part = copy(self)
        part.derive(loss=self.loss.at(index))
        part.scale = self._bound_scale()[index]
        return part

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """The loss's `away`, of the rescaled logits."""
        return self.loss.away(self._rescaled(prediction), y)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The loss's `toward`, of the rescaled logits."""
        return self.loss.toward(self._rescaled(prediction), target)

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


class _Spread(Loss):
    """Largest minus smallest logit, whatever the label."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        logits = prediction.logits
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return per_image(logits.amax(dim=1) - logits.amin(dim=1))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        return self.away(prediction, target)
