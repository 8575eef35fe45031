"""FGSM: the fast gradient sign method."""

from torch import Tensor

from medrobust.attack.core.ball import LinfBall
from medrobust.attack.core.base import Attack
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.step import sign
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Surrogate


class FGSM(Attack):
    """x' = clip(x + eps * sign(grad L(x, y))), one L∞ step of full length.

    Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples", section 4. The step
    is returned whether it raised the loss or not. Cost: one forward and one backward pass.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        loss: loss to maximise; None = by task, see `ByTask`.
        target: rule that chooses target classes; None = untargeted.
        criterion: unused by one step; kept so that every attack takes the same keys.
    """

    eps: float

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """One step from the clean image."""
        ball = LinfBall(x, self.eps)
        grad = surrogate.value_and_grad(x, goal, seeds=fold_in(fold_in(seeds, 0), 0)).grad
        direction, _ = sign(grad.to(ball.dtype), None)
        return ball.shown(ball.project(ball.centre + self.eps * direction))
