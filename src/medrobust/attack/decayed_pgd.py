"""PGD whose step size drops at some steps."""

from collections.abc import Sequence
from typing import Unpack

from medrobust.attack.core.options import LossRestartOptions
from medrobust.attack.pgd import PGD
from medrobust.number import fraction, whole


class DecayedPGD(PGD):
    """`PGD` with a step size that is multiplied by `decay` after each of some steps.

    With the loss `WB` it is WB_d of Medical Aegis, whose step "decays by 0.1 after step 50".

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps per restart, >= 1.
        after: after how many steps the step size drops, each time; none at all is PGD.
        decay: what it is multiplied by then, in (0, 1].
        step_size: the first, in pixel units; None = min(eps, 2.5 * eps / steps), as in `PGD`.
        **options: `early_stop`, `target`, `criterion`, `loss`, `restarts`; see `Iterated`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        after: Sequence[int] = (50,),
        decay: float = 0.1,
        **options: Unpack[LossRestartOptions],
    ) -> None:
        super().__init__(eps, steps=steps, **options)
        if isinstance(after, str) or not isinstance(after, Sequence):
            raise ValueError(f"attack.after={after!r}; expected a list of steps such as [50]")
        self.after = tuple(whole(step, "attack.after", low=1) for step in after)
        self.decay = fraction(decay, "attack.decay", above=True)

    def size_at(self, step: int) -> float:
        """`step_size`, times `decay` for each of `after` that has passed."""
        return self.step_size * self.decay ** sum(step >= at for at in self.after)
