"""BIM: the basic iterative method, also called I-FGSM."""

from typing import Unpack

from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.options import LossClimbOptions
from medrobust.attack.core.step import StepRule, sign


class BIM(Iterated):
    """FGSM repeated with small steps from the clean image, inside an L∞ ball.

    Kurakin et al. 2017, "Adversarial Examples in the Physical World", section 2.2:
    x_0 = x, x_{t+1} = Clip_{x, eps}(x_t + a * sign(grad L(x_t, y))). No random start. With one
    step it is FGSM. What is returned: see `Iterated`.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps, >= 1.
        step_size: a, in pixel units; None = eps / steps, which splits the budget.
        **options: `early_stop`, `target`, `criterion`, `loss`; see `Iterated`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        **options: Unpack[LossClimbOptions],
    ) -> None:
        super().__init__(eps, steps=steps, **options)

    def default_step_size(self) -> float:
        """Eps / steps."""
        return self.eps / self.steps

    def step_rule(self) -> StepRule:
        """Sign of the gradient."""
        return sign
