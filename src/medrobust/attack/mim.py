"""MIM: the momentum iterative method, also called MI-FGSM."""

from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.step import Momentum, StepRule
from medrobust.attack.core.target import Target
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
        early_stop: see `Iterated`.
        loss: loss to maximise; None = by task, see `ByTask`.
        target: rule that chooses target classes; None = untargeted.
        criterion: when an image counts as fooled; None = by task.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        step_size: float | str | None = None,
        decay: float = 1.0,
        early_stop: bool = False,
        loss: Loss | None = None,
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        super().__init__(
            eps,
            steps=steps,
            step_size=step_size,
            early_stop=early_stop,
            loss=loss,
            target=target,
            criterion=criterion,
        )
        self.decay = fraction(decay, "attack.decay", high=10.0)

    def default_step_size(self) -> float:
        """Eps / steps."""
        return self.eps / self.steps

    def step_rule(self) -> StepRule:
        """Sign of the accumulated gradient."""
        return Momentum(self.decay)
