"""FAB-T: the fast adaptive boundary attack toward one class at a time."""

from collections.abc import Iterator

from torch import Tensor

from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.target import Target
from medrobust.attack.fab import FAB, wrong_classes
from medrobust.number import whole


class FABT(FAB):
    """FAB with one run for each of the wrong classes that are likeliest on the clean image.

    Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
    parameter-free attacks": a run linearises the boundary to its one class only, so a
    step costs one backward pass however many classes there are. Any wrong class counts as
    adversarial. What is returned: see `MinimumNorm`.

    Args:
        eps: see `FAB`, as all that is not said here.
        targets: runs, >= 1; no more than there are wrong classes.
        norm: `linf` or `l2`.
        steps: per run and restart, >= 1.
        restarts: of each run, >= 1.
        alpha_max: largest weight of the clean image's projection, in [0, 1].
        eta: overshoot past the linearised boundary, >= 1.
        beta: fraction of the way from the clean image that a backward step keeps, in [0, 1].
        early_stop: True: an image leaves once an adversarial within `eps` is known.
        target: must be None: the attack chooses the classes itself.
        criterion: when an image counts as fooled; None = another class.
    """

    def __init__(
        self,
        eps: float | str | None = None,
        *,
        targets: int = 9,
        norm: str = "linf",
        steps: int = 100,
        restarts: int = 1,
        alpha_max: float = 0.1,
        eta: float = 1.05,
        beta: float = 0.9,
        early_stop: bool = False,
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        super().__init__(
            eps,
            norm=norm,
            steps=steps,
            restarts=restarts,
            alpha_max=alpha_max,
            eta=eta,
            beta=beta,
            early_stop=early_stop,
            target=target,
            criterion=criterion,
        )
        self.targets = whole(targets, "attack.targets", low=1)

    def rivals(self, logits: Tensor, labels: Tensor) -> Iterator[Tensor]:
        """One likely wrong class (N, 1) per run, the likeliest first."""
        yield from wrong_classes(logits, labels)[:, : self.targets].split(1, dim=1)
