"""TRADES: a trade-off between clean accuracy and the stability of the answers."""

from typing import Unpack

from torch import Tensor
from torch.nn.functional import cross_entropy

from medrobust.attack.core.base import Attack
from medrobust.number import fraction
from medrobust.objective.core.inner import Divergence, Highest, NearPGD, divergence
from medrobust.objective.core.robust import Network, RobustObjective, RobustOptions


class TRADES(RobustObjective):
    """CE(f(x), y) + β KL(p(x) ‖ p(x')), where x' maximises the divergence.

    Zhang et al. 2019, "Theoretically Principled Trade-off between Robustness and Accuracy" (their
    1/λ is β). The attack starts at x + 0.001 N(0, I); clean and adversarial images pass the network
    separately, so each batch has its own batch-norm statistics, as in their code.

    Args:
        name: name in paths and tables.
        beta: weight of the divergence, >= 0; 0 is standard training.
        **options: budget of the inner attack, validation; see `RobustObjective`.
    """

    def __init__(
        self,
        name: str = "trades",
        *,
        beta: float = 6.0,
        **options: Unpack[RobustOptions],
    ) -> None:
        super().__init__(name, **options)
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
