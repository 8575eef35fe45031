"""APGD-DLR: Auto-PGD on the difference of logits ratio."""

from medrobust.attack.apgd import APGD
from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.target import Target
from medrobust.attack.loss.dlr import DLROrMargin


class APGDDLR(APGD):
    """`APGD` on the difference of logits ratio (Croce and Hein 2020, section 4).

    DLR has no meaning with two classes, nor toward a target with three; there the logit margin
    stands in for it, which is its numerator. On masks it works pixel by pixel.

    Args:
        eps: radius in pixel units of [0, 1] images; a number or `8/255`.
        norm: `linf` or `l2`.
        steps: gradient steps per restart, >= 1.
        step_size: the first step, in pixel units; None = 2 * eps.
        rho: share of rising steps up to which a step size counts as too large.
        momentum: weight of a new step against the last one, in (0, 1].
        restarts: independent random starts, >= 1.
        early_stop: see `Iterated`.
        target: rule that chooses target classes; None = untargeted.
        criterion: when an image counts as fooled; None = by task.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        norm: str = "linf",
        step_size: float | str | None = None,
        rho: float = 0.75,
        momentum: float = 0.75,
        restarts: int = 1,
        early_stop: bool = False,
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        super().__init__(
            eps,
            steps=steps,
            norm=norm,
            step_size=step_size,
            rho=rho,
            momentum=momentum,
            restarts=restarts,
            early_stop=early_stop,
            loss=DLROrMargin(),
            target=target,
            criterion=criterion,
        )
