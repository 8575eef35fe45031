"""PGD with momentum and a step size that falls like a cosine."""

import math
from typing import Unpack

from medrobust.attack.core.options import LossRestartOptions
from medrobust.attack.core.step import Momentum, StepRule
from medrobust.attack.pgd import PGD
from medrobust.number import fraction


class MomentumPGD(PGD):
    """Sign steps along an accumulated gradient, from twice the radius down to nothing.

    The first steps cross the ball, so that a defense that quantises does not swallow them, and the
    last ones settle. The step size of Loshchilov and Hutter 2017 ("SGDR", Eq. 5) without restarts,
    a_t = a (1 + cos(π t / T)) / 2; the momentum is that of `MIM`. What is returned: see `Iterated`.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps T per restart, >= 1.
        decay: weight of the past gradients, >= 0; 0 is PGD with a falling step.
        step_size: a, the first, in pixel units; None = 2 eps.
        **options: `early_stop`, `target`, `criterion`, `loss`, `restarts`; see `Iterated`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        decay: float = 0.75,
        **options: Unpack[LossRestartOptions],
    ) -> None:
        super().__init__(eps, steps=steps, **options)
        self.decay = fraction(decay, "attack.decay", high=10.0)

    def default_step_size(self) -> float:
        """2 eps."""
        return 2 * self.eps

    def size_at(self, step: int) -> float:
        """Half a period of a cosine from `step_size` to 0."""
        return self.step_size * (1 + math.cos(math.pi * step / self.steps)) / 2

    def step_rule(self) -> StepRule:
        """Sign of the accumulated gradient."""
        return Momentum(self.decay)
