"""MIM: the momentum iterative method, also called MI-FGSM."""

from typing import Unpack

from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.options import LossClimbOptions
from medrobust.attack.core.step import Momentum, StepRule
from medrobust.number import fraction


class MIM(Iterated):
    """BIM along the sign of an accumulated, L1-normalised gradient; made to transfer.

    Dong et al. 2018, "Boosting Adversarial Attacks with Momentum", algorithm 1, eq. 6 and 7:
    g_{t+1} = mu * g_t + grad / ||grad||_1, x_{t+1} = x_t + a * sign(g_{t+1}). No random start.
    What is returned: see `Iterated`.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps, >= 1.
        step_size: a, in pixel units; None = eps / steps, as in the paper.
        decay: mu, >= 0; 0 gives BIM.
        **options: `early_stop`, `target`, `criterion`, `loss`; see `Iterated`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        decay: float = 1.0,
        **options: Unpack[LossClimbOptions],
    ) -> None:
        super().__init__(eps, steps=steps, **options)
        self.decay = fraction(decay, "attack.decay", high=10.0)

    def default_step_size(self) -> float:
        """Eps / steps."""
        return self.eps / self.steps

    def step_rule(self) -> StepRule:
        """Sign of the accumulated gradient."""
        return Momentum(self.decay)
