"""BIM: the basic iterative method, also called I-FGSM."""

from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.step import StepRule, sign
from medrobust.attack.core.target import Target


class BIM(Iterated):
    """FGSM repeated with small steps from the clean image, inside an L∞ ball.

    Kurakin et al. 2017, "Adversarial Examples in the Physical World", section 2.2:
    x_0 = x, x_{t+1} = Clip_{x, eps}(x_t + a * sign(grad L(x_t, y))). No random start. With one
    step it is FGSM. What is returned: see `Iterated`.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps, >= 1.
        step_size: a, in pixel units; None = eps / steps, which splits the budget.
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

    def default_step_size(self) -> float:
        """Eps / steps."""
        return self.eps / self.steps

    def step_rule(self) -> StepRule:
        """Sign of the gradient."""
        return sign
