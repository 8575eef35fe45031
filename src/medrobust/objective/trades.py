"""TRADES: a trade-off between clean accuracy and the stability of the answers."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from medrobust.attack.core.base import Attack
from medrobust.number import fraction
from medrobust.objective.core.inner import Divergence, Highest, NearPGD, divergence
from medrobust.objective.core.robust import Network, RobustObjective


class TRADES(RobustObjective):
    """CE(f(x), y) + β KL(p(x) ‖ p(x')), where x' maximises the divergence.

    Zhang et al. 2019, "Theoretically Principled Trade-off between Robustness and Accuracy" (their
    1/λ is β). The attack starts at x + 0.001 N(0, I); clean and adversarial images pass the network
    separately, so each batch has its own batch-norm statistics, as in their code.

    Args:
        name: name in paths and tables.
        beta: weight of the divergence, >= 0; 0 is standard training.
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        step_size: step size of the inner attack, in pixel units.
        steps: gradient steps of the inner attack, >= 1.
        val_steps: gradient steps of the PGD that selects the best epoch, >= 1.
        val_metric: metric under that PGD; None for accuracy, or Dice.
        class_balanced: see `RobustObjective`.
    """

    def __init__(
        self,
        name: str = "trades",
        *,
        beta: float = 6.0,
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
        self.beta = fraction(beta, "objective.beta", high=1000.0)

    def inner_attack(self, eps: float, step_size: float, steps: int) -> Attack:
        """Return PGD on the divergence, from a start next to x."""
        return NearPGD(
            eps, step_size=step_size, steps=steps, loss=Divergence(), criterion=Highest()
        )

    def outer(self, network: Network, x: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """Compute clean cross-entropy plus β times the mean divergence, differentiable in both."""
        clean, attacked = network(x), network(adversarial)
        moved = divergence(clean.log_softmax(1), attacked.log_softmax(1)).mean()
        return cross_entropy(clean, y, weight=self.weight) + self.beta * moved
