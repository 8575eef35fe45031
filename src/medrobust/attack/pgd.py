"""PGD in L∞: projected gradient descent from a random start."""

from typing import ClassVar

from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.step import StepRule, sign
from medrobust.attack.core.target import Target


class PGD(Iterated):
    """Sign steps inside an L∞ ball from a uniformly random start, with restarts.

    Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", section
    2.1: x_{t+1} = Proj(x_t + a * sign(grad L(x_t, y))). What is returned: see `Iterated`.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps per restart, >= 1.
        step_size: a, in pixel units; None = min(eps, 2.5 * eps / steps), Madry's rule, by which
            every start can reach the far side of the ball.
        restarts: independent random starts, >= 1.
        early_stop: see `Iterated`.
        loss: loss to maximise; None = by task, see `ByTask`.
        target: rule that chooses target classes; None = untargeted.
        criterion: when an image counts as fooled; None = by task.
    """

    random_start: ClassVar[bool] = True

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        step_size: float | str | None = None,
        restarts: int = 1,
        early_stop: bool = False,
        loss: Loss | None = None,
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        super().__init__(
            eps,
            steps=steps,
            step_size=step_size,
            restarts=restarts,
            early_stop=early_stop,
            loss=loss,
            target=target,
            criterion=criterion,
        )

    def default_step_size(self) -> float:
        """min(eps, 2.5 * eps / steps)."""
        return min(self.eps, 2.5 * self.eps / self.steps)

    def step_rule(self) -> StepRule:
        """Sign of the gradient."""
        return sign
