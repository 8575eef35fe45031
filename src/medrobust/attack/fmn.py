"""FMN: the fast minimum-norm attack."""

from typing import Unpack

import torch
from torch import Tensor

from medrobust.attack.core.ball import norm as norm_of
from medrobust.attack.core.closest import Closest
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.minimum_norm import (
    MinimumNorm,
    annealed,
    farthest,
    feasible,
    judged,
)
from medrobust.attack.core.norm import known_norm
from medrobust.attack.core.options import Options
from medrobust.attack.core.step import unit_l2
from medrobust.attack.loss.margin import Margin
from medrobust.number import fraction, whole
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Surrogate

_ORDER = {"l2": 2.0, "linf": torch.inf}
_DUAL = {"l2": 2.0, "linf": 1.0}
_LAST_GAMMA = 0.001


class FMN(MinimumNorm):
    """Steps on the logit margin inside a ball whose radius follows the boundary.

    Pintor et al. 2021, "Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints",
    algorithm 1. Until an adversarial image is found, the radius is ||delta|| plus the distance
    |margin| / ||gradient||_dual at which a linear model would cross; afterwards it shrinks by
    gamma at an adversarial point (never above the best distance) and grows by gamma at another.
    Step size and gamma fall along a cosine, to step_size / 100 and 0.001. In the L2 ball delta is
    scaled down only when it is too long.

    Where it parts from the authors' code: gradients leave out what would push a pixel out of
    [0, 1], since the cut would take it back and the radius would never reach the boundary (a
    black border stops other implementations so); and the estimated distance to the boundary is
    stretched by gamma, to land beyond a straight boundary and not on it.

    Cost: `steps` forward and backward passes, two forward. What is returned: see `MinimumNorm`.

    Args:
        eps: optional budget in `norm`, in pixel units of [0, 1] images; None = none.
        norm: `l2` or `linf`, the distance that is kept small.
        steps: gradient steps, >= 1.
        step_size: L2 length of the first step, in either norm.
        gamma: relative change of the radius at the first step, in [0.001, 1).
        **options: `target`, `criterion`; see `Attack`.
    """

    def __init__(
        self,
        eps: float | str | None = None,
        *,
        steps: int,
        norm: str = "l2",
        step_size: float | str = 1.0,
        gamma: float = 0.05,
        **options: Unpack[Options],
    ) -> None:
        self.norm = known_norm(norm)
        unbounded = Margin(1e9)  # its gradient never stops
        super().__init__(eps, loss=unbounded, **options)
        self.steps = whole(steps, "attack.steps", low=1)
        self.step_size = fraction(step_size, "attack.step_size", high=1e4, above=True)
        self.gamma = fraction(gamma, "attack.gamma", low=_LAST_GAMMA, high=0.999)

    def search(
        self, surrogate: Surrogate, goal: Goal, closest: Closest, rows: Tensor, seeds: Tensor
    ) -> None:
        """All steps for all images: none leaves, since each still comes nearer."""
        clean, goal, seeds = closest.x[rows], goal.at(rows), seeds[rows]
        x = clean.to(torch.promote_types(clean.dtype, torch.float32))
        limit = farthest(x, _ORDER[self.norm]).flatten()
        radius, point = limit, x
        for step in range(self.steps):
            shown, noise = point.to(clean.dtype), fold_in(seeds, step)
            seen = surrogate.value_and_grad(shown, goal, seeds=noise)
            margin, reached = judged(surrogate, shown, goal, seen, seeds=noise)
            closest.offer(rows, shown, reached, margin)
            grad, delta = feasible(seen.grad.to(x.dtype), point), point - x
            gamma = annealed(self.gamma, _LAST_GAMMA, step, self.steps)
            radius = torch.where(
                reached,
                (radius * (1 - gamma)).minimum(closest.distance[rows]),
                (radius * (1 + gamma)).where(
                    closest.reached[rows], self._boundary(delta, (1 + gamma) * margin, grad)
                ),
            ).minimum(limit)
            size = annealed(self.step_size, self.step_size / 100, step, self.steps)
            delta = delta + size * unit_l2(grad, None)[0]
            point = (x + self._shorter(delta, radius.view(-1, 1, 1, 1))).clamp_(0, 1)
        shown, noise = point.to(clean.dtype), fold_in(seeds, self.steps)
        margin, reached = surrogate.value(shown, goal, seeds=noise)
        closest.offer(rows, shown, reached, margin)

    def _boundary(self, delta: Tensor, margin: Tensor, grad: Tensor) -> Tensor:
        """Distance from the clean image at which a linear model would change its mind, (N,)."""
        slope = norm_of(grad, _DUAL[self.norm], dtype=torch.float64).clamp(min=1e-12)
        away = norm_of(delta, _ORDER[self.norm], dtype=torch.float64)
        return (away + margin.double().abs().view(-1, 1, 1, 1) / slope).flatten()

    def _shorter(self, delta: Tensor, radius: Tensor) -> Tensor:
        """`delta` projected onto the ball of `radius` (N, 1, 1, 1)."""
        if self.norm == "linf":
            radius = radius.to(delta.dtype)
            return delta.clamp(-radius, radius)
        factor = radius / norm_of(delta, dtype=torch.float64).maximum(radius).clamp(min=1e-300)
        return delta * factor.to(delta.dtype)
