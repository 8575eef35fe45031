"""The same surrogate with its gradients in bfloat16: about half the time of float32."""

from collections.abc import Sequence

from torch import Tensor

from medrobust.fingerprint import digest
from medrobust.prediction import Prediction
from medrobust.threat.aim import Aim
from medrobust.threat.surrogate import Gradient, Siblings, Surrogate


class ReducedPrecision(Surrogate):
    """Gradients from a bfloat16 copy of the victim; every decision from the float32 one.

    Args:
        surrogate: a differentiable surrogate of an accelerated victim (its `victim`).
    """

    exact = False

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.surrogate = surrogate
        self.differentiable, self.random = surrogate.differentiable, surrogate.random

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the surrogate and the precision."""
        return digest(["bfloat16", self.surrogate.fingerprint])

    def _siblings(self) -> Siblings:
        """The views of the surrogate, with gradients in bfloat16 where they have any."""
        found = self.surrogate.siblings
        own: dict[str, Surrogate] = {
            name: self if one is self.surrogate else ReducedPrecision(one)
            for name, one in found.stand_ins.items()
        }
        bare = self if found.bare is self.surrogate else ReducedPrecision(found.bare)
        deployed = self if found.deployed is self.surrogate else found.deployed
        return Siblings(bare, own, deployed)

    def forward(self, x: Tensor, seeds: Tensor, taps: Sequence[str] = ()) -> Prediction:
        """The exact prediction."""
        return self.surrogate(x, seeds, taps)

    def _value(self, x: Tensor, goal: Aim, *, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """The exact loss and success."""
        return self.surrogate.value(x, goal, seeds=seeds)

    def _value_and_grad(self, x: Tensor, goal: Aim, *, seeds: Tensor) -> Gradient:
        """Loss, gradient and a guess of success, from bfloat16 passes."""
        if goal.loss.taps:  # features come in float32 alone
            return self.surrogate.value_and_grad(x, goal, seeds=seeds)
        with self.surrogate.victim.reduced_precision():  # type: ignore[operator,union-attr]
            return self.surrogate.value_and_grad(x, goal, seeds=seeds)

    def _values_and_grads(
        self, x: Tensor, goals: Sequence[Aim], *, seeds: Tensor
    ) -> list[Gradient]:
        """Losses, gradients and guesses of success, from bfloat16 passes."""
        if any(goal.loss.taps for goal in goals):
            return self.surrogate.values_and_grads(x, goals, seeds=seeds)
        with self.surrogate.victim.reduced_precision():  # type: ignore[operator,union-attr]
            return self.surrogate.values_and_grads(x, goals, seeds=seeds)

    def _logits_and_grads(
        self, x: Tensor, weights: Tensor, *, seeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Exact: minimum-norm attacks walk on the boundary, where rounding decides."""
        return self.surrogate.logits_and_grads(x, weights, seeds=seeds)
