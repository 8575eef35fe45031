"""Adversarial training with PGD."""

from typing import Unpack

from torch import Tensor
from torch.nn.functional import cross_entropy

from medrobust.attack.core.base import Attack
from medrobust.attack.pgd import PGD
from medrobust.objective.core.inner import Highest
from medrobust.objective.core.robust import Network, RobustObjective, RobustOptions


class AdversarialTraining(RobustObjective):
    """Cross-entropy on adversarial images only.

    Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", eq. 2.1:
    min E[max_{|x'-x| <= eps} CE(f(x'), y)], the inner maximum by PGD from a uniform start.

    Args:
        name: name in paths and tables.
        **options: budget of the inner attack, validation; see `RobustObjective`.
    """

    def __init__(
        self,
        name: str = "adversarial_training",
        **options: Unpack[RobustOptions],
    ) -> None:
        super().__init__(name, **options)

    def inner_attack(self, eps: float, step_size: float, steps: int) -> Attack:
        """Return PGD on the cross-entropy, from a uniform start."""
        return PGD(eps, step_size=step_size, steps=steps, criterion=Highest())

    def outer(self, network: Network, x: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """Compute the mean cross-entropy at x'."""
        return cross_entropy(network(adversarial), y, weight=self.weight)
