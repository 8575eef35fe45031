"""Joint PGD: each step goes where, to first order, the smaller of both margins is largest."""

from itertools import count
from typing import Unpack

import torch
from torch import Tensor

from medrobust.attack.core.ball import Ball, LinfBall
from medrobust.attack.core.evading import Evading, per_image
from medrobust.attack.core.options import RestartOptions
from medrobust.attack.core.step import StepRule
from medrobust.number import fraction
from medrobust.threat.surrogate import Gradient

_HALVINGS = 14


class JointPGD(Evading):
    """Steps that solve the linearised problem of fooling classifier and detector at once.

    With margins a, b and gradients u, v at the point, the best end that can be reached is
    max_d min(a + u.d, b + v.d) over the box of steps d that stay in the ball. Its dual has one
    variable: min over w in [0, 1] of w a + (1 - w) b + max_d (w u + (1 - w) v).d, convex and piece
    by piece linear, so that halving finds w, and with it the end; the step goes toward that end.
    On a linear classifier and detector this finds the optimum of the ball; elsewhere w is chosen
    anew at each step, for a part of the ball. No weight is set by hand, and no margin is bought
    with the other.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps per restart, >= 1; each a forward and two backward passes.
        horizon: share of eps, in (0, 1], that the linearised problem looks ahead; 1 = all of the
            ball, right for linear models. Curved ones are trusted less far.
        step_size: see `Evading`.
        **options: `early_stop`, `target`, `criterion`, `restarts`; see `Iterated`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        horizon: float | str = 0.5,
        **options: Unpack[RestartOptions],
    ) -> None:
        super().__init__(eps, steps=steps, **options)
        self.horizon = fraction(horizon, "attack.horizon", above=True)

    def step_rule(self) -> StepRule:
        """Toward the end that was found, no number farther than the step size."""
        sizes = map(self.size_at, count())

        def toward(move: Tensor, memory: Tensor | None) -> tuple[Tensor, None]:
            return (move / next(sizes)).clamp(-1, 1), None

        return toward

    def combine(self, answer: Gradient, hiding: Gradient, point: Tensor, ball: Ball) -> Tensor:
        """The best move d."""
        assert isinstance(ball, LinfBall)
        far = self.horizon * self.eps
        down, up = (ball.low - point).clamp(min=-far), (ball.high - point).clamp(max=far)

        def ahead(weight: Tensor) -> tuple[Tensor, Tensor]:
            """Best move at these weights, and by how much the answer's margin leads after it."""
            mixed = hiding.grad.lerp(answer.grad, per_image(weight))
            mixed = mixed.where(mixed != 0, both)  # what one margin leaves open helps the other
            move = up.where(mixed > 0, down).where(mixed != 0, 0.0)
            return move, gap + (apart * move).flatten(1).sum(1)

        gap, apart = answer.loss - hiding.loss, answer.grad - hiding.grad
        both = answer.grad + hiding.grad
        low = torch.zeros_like(gap)
        high = torch.ones_like(gap)
        for _ in range(_HALVINGS):
            weight = (low + high) / 2
            _, lead = ahead(weight)
            low, high = weight.where(lead < 0, low), weight.where(lead >= 0, high)
        # The optimum lies between the two ends at which one margin or the other is ahead.
        (short, behind), (long, before) = ahead(low), ahead(high)
        share = (-behind / (before - behind).clamp(min=1e-30)).clamp(0, 1)
        return short.lerp(long, per_image(share))
