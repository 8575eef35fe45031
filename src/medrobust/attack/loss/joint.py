"""The joint margin: how far an image is past the classifier's boundary and the detector's."""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from medrobust.attack.core.ball import norm
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.loss import Loss
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.evade import Evade
from medrobust.attack.loss.margin import lead
from medrobust.prediction import Prediction

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate


class Joint(Loss):
    """min(logit margin, threshold - score), each in pixel units: positive = wrong and undetected.

    Logits and scores have no common unit, so each margin is divided by the L1 norm of its own
    gradient at the clean image, measured once: what is left is how far each boundary is away in
    L∞, to first order. The smaller one decides, so that neither can be bought with the other, as
    in a sum. Where a gradient is zero its margin keeps its own unit.
    """

    evades = True

    def __init__(self) -> None:
        self.answer, self.hiding = Lead(), Room()

    @property
    def parts(self) -> tuple[Loss, Loss]:
        """The two margins: of the answer and of the detector."""
        return self.answer, self.hiding

    def bind(
        self, surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> Self:
        """Measure the gradients at the clean images: one forward pass, two backward passes.

        Raises:
            ValueError: masks; as `EvasionError` where there is no detector to evade.
        """
        if y.ndim != 1:
            raise ValueError(
                f"the joint margin needs one label per image, this task has masks {tuple(y.shape)}"
            )
        self.hiding.evasion.bind(surrogate, x, y, seeds, targeted=targeted)
        goals = [Goal(part, Misclassified(), y, targeted=targeted) for part in self.parts]
        bound = copy.copy(self)
        answer, hiding = surrogate.values_and_grads(x, goals, seeds=seeds)
        bound.answer = self.answer.scaled(answer.grad)
        bound.hiding = self.hiding.scaled(hiding.grad)
        return bound

    def at(self, index: Tensor) -> Self:
        """The units of these images."""
        part = copy.copy(self)
        part.answer, part.hiding = self.answer.at(index), self.hiding.at(index)
        return part

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """The smaller margin (N,)."""
        return torch.minimum(*(part.away(prediction, y) for part in self.parts))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The smaller margin (N,)."""
        return torch.minimum(*(part.toward(prediction, target) for part in self.parts))

    def halves(self, goal: Goal) -> list[Goal]:
        """The goal of each margin alone; success is that of the whole."""
        return [replace(goal, loss=part) for part in self.parts]


class _Scaled(Loss):
    """A margin that each image divides by its own unit."""

    unit: Tensor | None = None

    def scaled(self, grad: Tensor) -> Self:
        """Return the loss in units of the L1 norm of a gradient (N, C, H, W)."""
        size = norm(grad.to(torch.promote_types(grad.dtype, torch.float32)), 1).flatten()
        part = copy.copy(self)
        part.unit = size.where(size > 0, 1.0)
        return part

    def at(self, index: Tensor) -> Self:
        """The units of these images."""
        part = copy.copy(self)
        part.unit = None if self.unit is None else self.unit[index]
        return part

    def in_unit(self, margin: Tensor) -> Tensor:
        """A margin (N,), divided."""
        return margin if self.unit is None else margin / self.unit


class Lead(_Scaled):
    """The uncut logit margin."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Best other logit - true logit (N,)."""
        return self.in_unit(-lead(prediction.logits, y))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Target logit - best other logit (N,)."""
        return self.in_unit(lead(prediction.logits, target))


class Room(_Scaled):
    """The detector's margin."""

    evades = True

    def __init__(self) -> None:
        self.evasion = Evade()

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Threshold - score (N,)."""
        return self.in_unit(self.evasion.away(prediction, y))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Threshold - score (N,)."""
        return self.away(prediction, target)
