"""VMI-FGSM: momentum with variance tuning."""

from typing import Unpack

import torch
from torch import Tensor

from medrobust.attack.core.goal import Goal
from medrobust.attack.core.iterated import Iterate
from medrobust.attack.core.options import MomentumOptions
from medrobust.attack.core.step import Momentum, StepRule
from medrobust.attack.mim import MIM
from medrobust.number import fraction, whole
from medrobust.rng import fold_in, uniform
from medrobust.threat.surrogate import Gradient, Surrogate


class VMIFGSM(MIM):
    """MIM whose gradient is corrected by that of the last point's neighbourhood; made to transfer.

    Wang and He 2021, "Enhancing the Transferability of Adversarial Attacks through Variance
    Tuning", algorithm 1, eq. 5 and 6: v_{t+1} = mean_i grad L(x_t + r_i) - grad L(x_t) over N
    draws of r_i, uniform in [-beta * eps, beta * eps]; grad L(x_t) + v_t takes the place of the
    gradient in `MIM`. Neighbours are cut to [0, 1], where a model is defined. What is returned:
    see `Iterated`.

    v_t is computed when step t needs it, so the last point has no neighbours, nor has a point
    from which early stop was reached. Cost: steps + (steps - 1) * N gradients.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps, >= 1.
        step_size: in pixel units; None = eps / steps, as in the paper.
        neighbours: N, >= 1; the paper has 20 (torchattacks 5).
        beta: radius of the neighbourhood as a multiple of eps, > 0.
        **options: `early_stop`, `target`, `criterion`, `loss`, `decay`; see `MIM`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        neighbours: int = 20,
        beta: float = 1.5,
        **options: Unpack[MomentumOptions],
    ) -> None:
        super().__init__(eps, steps=steps, **options)
        self.neighbours = whole(neighbours, "attack.neighbours", low=1)
        self.beta = fraction(beta, "attack.beta", high=100.0, above=True)

    def step_rule(self) -> StepRule:
        """Sign of the accumulated tuned gradient."""
        return _Tuned(self.decay)

    def gradient(self, surrogate: Surrogate, at: Iterate) -> Gradient:
        """Tuned gradient, gradient and point: (N, 3, C, H, W), as `_Tuned` takes them."""
        point, goal, ball, memory, seeds = at
        seen = surrogate.value_and_grad(point, goal, seeds=seeds)
        plain = seen.grad.to(ball.dtype)
        tuned = plain.clone()
        if memory is not None:
            if self.early_stop and surrogate.exact:  # the others leave the batch now
                rows = (~seen.reached).nonzero().flatten()
            else:
                rows = torch.arange(len(point), device=point.device)
            if len(rows):
                _, old_grad, old_point = memory[rows].unbind(1)
                around = self._around(
                    surrogate, old_point, goal.at(rows), seeds[rows], dtype=point.dtype
                )
                tuned[rows] += around - old_grad
        return seen._replace(grad=torch.stack([tuned, plain, point.to(ball.dtype)], dim=1))

    def _around(
        self, surrogate: Surrogate, centre: Tensor, goal: Goal, seeds: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Mean gradient over the neighbours of `centre`."""
        radius = self.beta * self.eps
        total = torch.zeros_like(centre)
        for neighbour in range(self.neighbours):
            own = fold_in(seeds, neighbour + 1)
            offset = radius * (2 * uniform(fold_in(own, 0), centre.shape[1:]) - 1)
            near = (centre + offset).clamp(0, 1).to(dtype)
            total += surrogate.value_and_grad(near, goal, seeds=fold_in(own, 1)).grad
        return total / self.neighbours


class _Tuned:
    """`Momentum` of the tuned gradient; remembers gradient and point for the next variance.

    Memory is (N, 3, C, H, W): accumulated gradient, last gradient, last point.
    """

    def __init__(self, decay: float) -> None:
        self.momentum = Momentum(decay)

    def __call__(self, seen: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        tuned, plain, point = seen.unbind(1)
        past = None if memory is None else memory[:, 0]
        direction, accumulated = self.momentum(tuned, past)
        return direction, torch.stack([accumulated, plain, point], dim=1)
