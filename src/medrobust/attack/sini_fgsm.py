"""SI-NI-FGSM: Nesterov's look ahead, and gradients averaged over scaled copies."""

from typing import Unpack

import torch

from medrobust.attack.core.iterated import Iterate
from medrobust.attack.core.options import MomentumOptions
from medrobust.attack.mim import MIM
from medrobust.number import whole
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Gradient, Surrogate


class SINIFGSM(MIM):
    """MIM with gradients ahead of the point, at several brightnesses; made to transfer.

    Lin et al. 2020, "Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks",
    eq. 6 and 10: at x' = x_t + a * mu * g_t the gradients of L(x' / 2^i), i = 0, ..., m - 1, with
    respect to x' are averaged; then L1 normalisation, momentum and sign as in `MIM`.

    As in the authors' code, the g_t of the look ahead is normalised to a mean absolute value of
    one, not to a sum of one, which would make it negligible. x' is cut to [0, 1], where a model
    is defined. Only the last point is judged (with early stop each one); see `Iterated`. Cost:
    m gradients per step.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps, >= 1.
        step_size: a, in pixel units; None = eps / steps, as in the paper.
        copies: m, >= 1; 1 gives NI-FGSM.
        **options: `early_stop`, `target`, `criterion`, `loss`, `decay`; see `MIM`.
    """

    gradient_at_point = False

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        copies: int = 5,
        **options: Unpack[MomentumOptions],
    ) -> None:
        super().__init__(eps, steps=steps, **options)
        self.copies = whole(copies, "attack.copies", low=1, high=64)

    def gradient(self, surrogate: Surrogate, at: Iterate) -> Gradient:
        """The mean gradient over the copies of the point ahead."""
        point, goal, ball, memory, seeds = at
        ahead = point.to(ball.dtype)
        if memory is not None:
            lead = self.step_size * self.decay * point[0].numel()
            ahead = (ahead + lead * memory).clamp(0, 1)
        total = torch.zeros_like(ahead)
        for copy in range(self.copies):
            scale = 0.5**copy
            dimmed = (scale * ahead).to(point.dtype)
            seen = surrogate.value_and_grad(dimmed, goal, seeds=fold_in(seeds, copy))
            total += scale / self.copies * seen.grad.to(ball.dtype)
        return seen._replace(grad=total)
