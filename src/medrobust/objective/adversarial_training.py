"""Adversarial training with PGD."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from medrobust.attack.core.base import Attack
from medrobust.attack.pgd import PGD
from medrobust.objective.core.inner import Highest
from medrobust.objective.core.robust import Network, RobustObjective


class AdversarialTraining(RobustObjective):
    """Cross-entropy on adversarial images only.

    Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", eq. 2.1:
    min E[max_{|x'-x| <= eps} CE(f(x'), y)], the inner maximum by PGD from a uniform start.

    Args:
        name: name in paths and tables.
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        step_size: step size of the inner attack, in pixel units.
        steps: gradient steps of the inner attack, >= 1.
        val_steps: gradient steps of the PGD that selects the best epoch, >= 1.
        val_metric: metric under that PGD; None for accuracy, or Dice.
        class_balanced: see `RobustObjective`.
    """

    def __init__(
        self,
        name: str = "adversarial_training",
        *,
        eps: float | str = "8/255",
        step_size: float | str = "2/255",
        steps: int = 10,
        val_steps: int = 10,
        val_metric: str | None = None,
        class_balanced: bool = False,
    ) -> None:
        super().__init__(
            name,
            eps=eps,
            step_size=step_size,
            steps=steps,
            val_steps=val_steps,
            val_metric=val_metric,
            class_balanced=class_balanced,
        )

    def inner_attack(self, eps: float, step_size: float, steps: int) -> Attack:
        """Return PGD on the cross-entropy, from a uniform start."""
        return PGD(eps, step_size=step_size, steps=steps, criterion=Highest())

    def outer(self, network: Network, x: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """Compute the mean cross-entropy at x'."""
        return cross_entropy(network(adversarial), y, weight=self.weight)
