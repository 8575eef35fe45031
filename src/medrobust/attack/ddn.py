"""DDN: direction and norm of the perturbation, decoupled."""

from typing import Unpack

import torch
from torch import Tensor

from medrobust.attack.core.ball import norm
from medrobust.attack.core.closest import Closest
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.minimum_norm import MinimumNorm, annealed, farthest, judged
from medrobust.attack.core.options import LossOptions
from medrobust.attack.core.step import unit_l2
from medrobust.number import fraction, whole
from medrobust.rng import fold_in, normal
from medrobust.threat.surrogate import Surrogate


class DDN(MinimumNorm):
    """Gradient steps choose the direction; the norm shrinks while adversarial, else it grows.

    Rony et al. 2019, "Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial
    Attacks and Defenses", algorithm 1: delta <- delta + a * g / ||g||, eps <- (1 -/+ gamma) * eps,
    x' = clip(x + eps * delta / ||delta||), with a falling from 1 to 0.01 along a cosine. The
    norm never exceeds what the box [0, 1] allows. An image whose gradient is zero at the start
    sets out in a random direction of its own.

    Cost: `steps` forward and backward passes, two forward. What is returned: see `MinimumNorm`.

    Args:
        eps: optional budget, an L2 radius in pixel units of [0, 1] images; None = none.
        steps: gradient steps, >= 1.
        gamma: relative change of the norm per step, in (0, 1).
        init_norm: L2 norm of the first perturbation, above 0.
        levels: grey levels that images are rounded to at every step, 256 for 8 bit; None = none.
        **options: `loss`, `target`, `criterion`; see `Attack`.
    """

    norm = "l2"

    def __init__(
        self,
        eps: float | str | None = None,
        *,
        steps: int,
        gamma: float = 0.05,
        init_norm: float = 1.0,
        levels: int | None = None,
        **options: Unpack[LossOptions],
    ) -> None:
        super().__init__(eps, **options)
        self.steps = whole(steps, "attack.steps", low=1)
        self.gamma = fraction(gamma, "attack.gamma", high=0.999, above=True)
        self.init_norm = fraction(init_norm, "attack.init_norm", high=1e4, above=True)
        self.levels = levels if levels is None else whole(levels, "attack.levels", low=2)

    def search(
        self, surrogate: Surrogate, goal: Goal, closest: Closest, rows: Tensor, seeds: Tensor
    ) -> None:
        """All steps for all images: none leaves, since each still comes nearer."""
        clean, goal, seeds = closest.x[rows], goal.at(rows), seeds[rows]
        x = clean.to(torch.promote_types(clean.dtype, torch.float32))
        limit = farthest(x, 2)
        radius = torch.full_like(limit, self.init_norm)
        point = x
        for step in range(self.steps):
            shown, noise = point.to(clean.dtype), fold_in(seeds, step)
            seen = surrogate.value_and_grad(shown, goal, seeds=noise)
            loss, reached = judged(surrogate, shown, goal, seen, seeds=noise)
            closest.offer(rows, shown, reached, loss)
            ascent, _ = unit_l2(seen.grad.to(x.dtype), None)
            if step == 0:
                ascent = _never_zero(ascent, fold_in(seeds, self.steps + 1))
            delta = point - x + annealed(1.0, 0.01, step, self.steps) * ascent
            grow = torch.where(reached, 1 - self.gamma, 1 + self.gamma).view(-1, 1, 1, 1)
            radius = (radius * grow).minimum(limit)
            length = norm(delta, dtype=torch.float64).clamp(min=torch.finfo(x.dtype).tiny)
            point = (x + delta * (radius / length).to(x.dtype)).clamp_(0, 1)
            if self.levels is not None:
                point = point.mul_(self.levels - 1).round_().div_(self.levels - 1)
        shown, noise = point.to(clean.dtype), fold_in(seeds, self.steps)
        loss, reached = surrogate.value(shown, goal, seeds=noise)
        closest.offer(rows, shown, reached, loss)


def _never_zero(direction: Tensor, seeds: Tensor) -> Tensor:
    """Unit vectors (N, C, H, W); a random one where there was none."""
    still = (norm(direction) == 0).flatten().nonzero().flatten()
    if len(still):
        noise = normal(seeds[still], direction.shape[1:]).to(direction.dtype)
        direction[still], _ = unit_l2(noise, None)
    return direction
