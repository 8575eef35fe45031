"""APGD-DLR: Auto-PGD on the difference of logits ratio."""

from typing import Unpack

from medrobust.attack.apgd import APGD
from medrobust.attack.core.options import AutoOptions
from medrobust.attack.loss.dlr import DLROrMargin


class APGDDLR(APGD):
    """`APGD` on the difference of logits ratio (Croce and Hein 2020, section 4).

    DLR has no meaning with two classes, nor toward a target with three; there the logit margin
    stands in for it, which is its numerator. On masks it works pixel by pixel.

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
        super().__init__(eps, steps=steps, loss=DLROrMargin(), **options)
