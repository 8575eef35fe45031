"""The stress test of Medical Aegis: how far the features of a layer can be driven."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.loss import Loss
from medrobust.attack.loss.core.taps import given, penultimate
from medrobust.prediction import Prediction

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate

_SIGNS = {"up": 1.0, "down": -1.0}


class Stress(Loss):
    """Mean activation of a layer, to be raised or lowered; no label enters.

    Medical Aegis, table 1: J_down = mean(f^l(x)) and J_up = -mean(f^l(x)) are minimised; this is
    their negative. Several taps add up.

    Args:
        direction: `up` or `down`.
        taps: modules; None = the one that feeds the classifier.
    """

    fools: ClassVar[bool] = False

    def __init__(self, direction: str = "up", taps: Sequence[str] | None = None) -> None:
        if direction not in _SIGNS:
            raise ValueError(
                f"attack.loss.direction={direction!r}; expected one of {sorted(_SIGNS)}"
            )
        self.sign = _SIGNS[direction]
        self.names = given(taps)

    @property
    def taps(self) -> tuple[str, ...]:
        """Modules that are configured, or found by `bind`."""
        return self.names

    def bind(
        self, surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> Self:
        """Find the layer when none is named."""
        if targeted:
            raise ValueError(_NO_TARGET)
        bound = copy.copy(self)
        bound.names = self.names or penultimate(surrogate, x, seeds)
        return bound

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """The mean activation, or its negative (N,)."""
        means = [prediction.features[tap].flatten(1).mean(1) for tap in self.names]
        return self.sign * torch.stack(means).sum(0)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Raises ValueError: no class is aimed at."""
        raise ValueError(_NO_TARGET)


class LossOnly(Criterion):
    """No image ever counts as fooled, so that an attack ranks points by their loss alone."""

    fools: ClassVar[bool] = False

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """False (N,)."""
        return torch.zeros(len(y), dtype=torch.bool, device=y.device)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """False (N,)."""
        return self.away(prediction, target)


_NO_TARGET = "the stress test aims at no class: set attack/target=null"
