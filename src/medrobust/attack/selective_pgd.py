"""Selective PGD: fool the classifier first, then the detector, never both in one step."""

from torch import Tensor

from medrobust.attack.core.ball import Ball
from medrobust.attack.core.evading import Evading, per_image
from medrobust.threat.surrogate import Gradient


class SelectivePGD(Evading):
    """A step of the classifier's gradient while the answer is right, else one of the detector's.

    Bryniarski, Hingun, Pachuca, Wang and Carlini 2022, "Evading Adversarial Example Detection
    Defenses with Orthogonal Projected Gradient Descent", the selective attack: no weight has to
    balance two losses, and no step is spent on what is reached already. The loss of the answer is
    its logit margin, not the cross-entropy, whose scale is of no account under the sign.

    Cost, arguments and what is returned: see `Evading`.
    """

    def combine(self, answer: Gradient, hiding: Gradient, point: Tensor, ball: Ball) -> Tensor:
        """The gradient of the margin that is in turn."""
        return answer.grad.where(per_image(answer.loss <= 0), hiding.grad)
