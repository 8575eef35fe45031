"""Joint PGD: at each step the weights of both gradients that raise the smaller margin most."""

import torch
from torch import Tensor

from medrobust.attack.ball import Ball, LinfBall
from medrobust.attack.evading import Evading, per_image
from medrobust.attack.success import Success
from medrobust.attack.target import Target
from medrobust.number import fraction
from medrobust.threat.surrogate import Gradient

_HALVINGS = 12


class JointPGD(Evading):
    """Steps that solve the linearised problem of fooling classifier and detector at once.

    With margins a, b and gradients u, v at the point, the best end that can be reached is
    max_d min(a + u.d, b + v.d) over the box of steps d that stay in the ball. Its dual has one
    variable: min over w in [0, 1] of w a + (1 - w) b + max_d (w u + (1 - w) v).d, convex and piece
    by piece linear, so that halving finds w. The step goes along the sign of w u + (1 - w) v.
    On a linear classifier and detector this finds the optimum of the ball; elsewhere w is chosen
    anew at each step, for a part of the ball. No weight is set by hand, and no margin is bought
    with the other.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps per restart, >= 1; each a forward and two backward passes.
        horizon: share of eps, in (0, 1], that the linearised problem looks ahead; 1 = all of the
            ball, right for linear models. Curved ones are trusted less far.
        step_size: see `Evading`.
        restarts: independent random starts, >= 1.
        early_stop: an image leaves once it is wrong and undetected.
        target: rule that chooses target classes; None = untargeted.
        success: when an image counts as fooled; None = wrong and undetected.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        horizon: float | str = 0.5,
        step_size: float | str | None = None,
        restarts: int = 1,
        early_stop: bool = False,
        target: Target | None = None,
        success: Success | None = None,
    ) -> None:
        super().__init__(
            eps,
            steps=steps,
            step_size=step_size,
            restarts=restarts,
            early_stop=early_stop,
            target=target,
            success=success,
        )
        self.horizon = fraction(horizon, "attack.horizon", above=True)

    def combine(self, answer: Gradient, hiding: Gradient, point: Tensor, ball: Ball) -> Tensor:
        """The weighted sum w u + (1 - w) v."""
        assert isinstance(ball, LinfBall)
        far = self.horizon * self.eps
        down, up = (ball.low - point).clamp(min=-far), (ball.high - point).clamp(max=far)
        apart = (answer.grad - hiding.grad).flatten(1)
        low = torch.zeros_like(answer.loss)
        high = torch.ones_like(low)
        for _ in range(_HALVINGS):
            weight = (low + high) / 2
            mixed = hiding.grad.lerp(answer.grad, per_image(weight))
            move = up.where(mixed > 0, down).where(mixed != 0, 0.0).flatten(1)
            slope = answer.loss - hiding.loss + (apart * move).sum(1)
            low, high = weight.where(slope < 0, low), weight.where(slope >= 0, high)
        return hiding.grad.lerp(answer.grad, per_image((low + high) / 2))
