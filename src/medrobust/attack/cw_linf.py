"""CW in L∞: PGD on the margin of Carlini and Wagner."""

from typing import Unpack

from medrobust.attack.core.options import RestartOptions
from medrobust.attack.loss.margin import Margin
from medrobust.attack.pgd import PGD


class CWLinf(PGD):
    """PGD that maximises min(best other logit - true logit, kappa) inside an L∞ ball.

    The loss is f_6 of Carlini and Wagner 2017, "Towards Evaluating the Robustness of Neural
    Networks"; putting it into PGD, with kappa = 50 so that it keeps growing past the boundary, is
    Madry et al. 2018, section 5.1, and their public challenges. What is returned: see `Iterated`.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps per restart, >= 1.
        step_size: in pixel units; None = min(eps, 2.5 * eps / steps), as in `PGD`.
        kappa: margin in logit units beyond which there is nothing to gain, >= 0.
        **options: `early_stop`, `target`, `criterion`, `restarts`; see `Iterated`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        kappa: float = 50.0,
        **options: Unpack[RestartOptions],
    ) -> None:
        super().__init__(eps, steps=steps, loss=Margin(kappa), **options)
