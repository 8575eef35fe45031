"""MART: misclassification-aware adversarial training."""

from typing import Unpack

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from medrobust.attack.core.base import Attack
from medrobust.number import fraction
from medrobust.objective.core.inner import Highest, NearPGD, divergence
from medrobust.objective.core.robust import Network, RobustObjective, RobustOptions


class MART(RobustObjective):
    """BCE(p(x'), y) + λ KL(p(x) ‖ p(x')) (1 - p_y(x)), x' by PGD on the cross-entropy.

    Wang et al. 2020, "Improving Adversarial Robustness Requires Revisiting Misclassified
    Examples". BCE is the boosted cross-entropy -log p_y - log(1 - max_{k≠y} p_k).
    The attack starts at x + 0.001 N(0, I), as in their code. The loss is computed from
    log-probabilities; their code adds small constants instead.

    Args:
        name: name in paths and tables.
        beta: λ, weight of the divergence, >= 0.
        **options: budget of the inner attack, validation; see `RobustObjective`.
    """

    def __init__(
        self,
        name: str = "mart",
        *,
        beta: float = 5.0,
        **options: Unpack[RobustOptions],
    ) -> None:
        super().__init__(name, **options)
        self.beta = fraction(beta, "objective.beta", high=1000.0)

    def inner_attack(self, eps: float, step_size: float, steps: int) -> Attack:
        """Return PGD on the cross-entropy, from a start next to x."""
        return NearPGD(eps, step_size=step_size, steps=steps, criterion=Highest())

    def outer(self, network: Network, x: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """Compute the mean boosted cross-entropy at x' plus β times the weighted divergence."""
        log_p, log_q = network(x).log_softmax(1), network(adversarial).log_softmax(1)
        trusted = log_p.gather(1, y.unsqueeze(1)).squeeze(1).exp()
        weighted = divergence(log_p, log_q) * (1 - trusted)
        return boosted_cross_entropy(log_q, y, self.weight) + self.beta * weighted.mean()


def boosted_cross_entropy(log_q: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the mean of -log q_y - log(1 - max_{k≠y} q_k), finite for every finite logit.

    Args:
        log_q: log-probabilities (N, K) or (N, K, H, W).
        y: classes (N,) or (N, H, W).
        weight: weight of each class (K,), for a weighted mean; None for equal weights.
    """
    rival = log_q.detach().scatter(1, y.unsqueeze(1), -torch.inf).argmax(1, keepdim=True)
    others = log_q.scatter(1, rival, -torch.inf).logsumexp(1)  # log of 1 - q_rival, exactly
    if weight is None:
        return cross_entropy(log_q, y) - others.mean()
    counts = weight[y]
    return cross_entropy(log_q, y, weight=weight) - (counts * others).sum() / counts.sum()
