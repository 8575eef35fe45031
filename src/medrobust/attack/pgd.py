"""PGD in L∞: projected gradient descent from a random start."""

from typing import ClassVar

from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.step import StepRule, sign


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
        **options: `loss`, `target`, `criterion`; see `Attack`.
    """

    random_start: ClassVar[bool] = True

    def default_step_size(self) -> float:
        """min(eps, 2.5 * eps / steps)."""
        return min(self.eps, 2.5 * self.eps / self.steps)

    def step_rule(self) -> StepRule:
        """Sign of the gradient."""
        return sign
