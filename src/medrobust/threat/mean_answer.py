"""Expectation over a vote's noise of its answers, instead of their losses."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from medrobust.fingerprint import digest
from medrobust.prediction import Prediction
from medrobust.threat.aim import Aim
from medrobust.threat.mean_loss import MeanLossSurrogate
from medrobust.threat.surrogate import Gradient, Surrogate


class MeanAnswerSurrogate(MeanLossSurrogate):
    """Loss of the mean class probabilities over the draws, instead of the mean loss.

    This is the attack on smoothed classifiers of Salman et al. 2019 ("Provably Robust Deep Learning
    via Adversarially Trained Smoothed Classifiers", Eq. 5 and 6). A draw's gradient is weighed by
    its probability of the true class, so that the draws that still vote for it count, where the
    mean loss is led by those that are fooled already. On toys neither is always the stronger, so
    a careful evaluation tries both. A detector's score is the mean one too.
    """

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the mean-loss surrogate and the rule."""
        return digest(["mean answer", super().fingerprint])

    def _value(self, x: Tensor, goal: Aim, *, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and success of the mean answer."""
        return Surrogate._value(self, x, goal, seeds=seeds)

    def _value_and_grad(self, x: Tensor, goal: Aim, *, seeds: Tensor) -> Gradient:
        """Loss, its gradient and success of the mean answer."""
        return Surrogate._value_and_grad(self, x, goal, seeds=seeds)

    def _values_and_grads(
        self, x: Tensor, goals: Sequence[Aim], *, seeds: Tensor
    ) -> list[Gradient]:
        """Use one forward pass over all draws for all goals."""
        return Surrogate._values_and_grads(self, x, goals, seeds=seeds)

    def _draw(self, x: Tensor, noise: Tensor, taps: Sequence[str]) -> Prediction:
        """One chunk of draws; it is computed again for its gradient, so that memory is bounded."""
        draw = super()._draw
        if not torch.is_grad_enabled():
            return draw(x, noise, taps)
        found: Prediction = checkpoint(
            draw, x, noise, taps, use_reentrant=False, preserve_rng_state=False
        )
        return found
