"""APGD-CE: Auto-PGD on the cross-entropy."""

from typing import Unpack

from medrobust.attack.apgd import APGD
from medrobust.attack.core.options import AutoOptions


class APGDCE(APGD):
    """`APGD` on the cross-entropy, the first component of AutoAttack (Croce and Hein 2020).

    Args:
        eps: radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps per restart, >= 1.
        **options: `norm`, `step_size`, `rho`, `momentum`, `restarts`, `early_stop`, `target`,
            `criterion`; see `APGD`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        **options: Unpack[AutoOptions],
    ) -> None:
        super().__init__(eps, steps=steps, **options)
