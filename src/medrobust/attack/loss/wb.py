"""WB, the white-box attack of Medical Aegis on classifier and detector."""

from typing import TYPE_CHECKING, Self

from torch import Tensor

from medrobust.attack.core.loss import Loss
from medrobust.attack.loss.evade import Evade
from medrobust.attack.loss.margin import Margin
from medrobust.number import fraction
from medrobust.prediction import Prediction

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate


class WB(Loss):
    """Margin of Carlini and Wagner plus the detector's room, in their own units.

    Medical Aegis (section on adaptive attacks) prints J_wba = S(C(x)) + J_cw, to be minimised, with
    S the Shield's logit of "clean". Minimising S makes an image look adversarial, so with the
    printed sign the attack would help the detector; J_cw, too, is printed with the target's logit
    first, which would leave the target. Here both have the sign that evades: maximised is
    min(target logit - best other logit, kappa) + weight * (threshold - score), where a score
    grows as an image looks adversarial (for the Shield, -S). The threshold is a constant.

    Args:
        kappa: margin in logits beyond which there is nothing to gain, >= 0; not given in the paper.
        weight: of the detector's part, >= 0; 1 as printed.
    """

    evades = True

    def __init__(self, kappa: float = 1.0, weight: float = 1.0) -> None:
        self.margin = Margin(kappa)
        self.weight = fraction(weight, "attack.loss.weight", high=1e6)
        self.evasion = Evade()

    def bind(
        self, surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> Self:
        """Itself, if there is a detector to evade; else `EvasionError`."""
        self.evasion.bind(surrogate, x, y, seeds, targeted=targeted)
        return self

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """min(best other logit - true logit, kappa) + weight * (threshold - score)."""
        return self._sum(self.margin.away(prediction, y), prediction, y)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """min(target logit - best other logit, kappa) + weight * (threshold - score)."""
        return self._sum(self.margin.toward(prediction, target), prediction, target)

    def _sum(self, margin: Tensor, prediction: Prediction, label: Tensor) -> Tensor:
        return margin + self.weight * self.evasion.away(prediction, label)
