"""The deployed system, as an attacker who knows it rehearses on a copy of its own."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from medrobust.defense.core.base import Defense, Smoother
from medrobust.fingerprint import digest
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.threat.surrogate import Surrogate

REHEARSED = 100
"""Copies of a rehearsed vote: the share of votes is then known within a few percent, and a vote of
10 000 copies per look would cost more than the whole attack."""


class DeployedSurrogate(Surrogate):
    """Victim and defense as deployed, scores and refusals included, without gradients.

    A white-box attacker can run the system at home with noise of its own. A vote is rehearsed with
    at most `REHEARSED` copies.

    Args:
        victim: frozen.
        defense: as deployed, not its proxy.
    """

    differentiable = False

    def __init__(self, victim: Victim, defense: Defense) -> None:
        super().__init__()
        self.votes = isinstance(defense, Smoother)
        if isinstance(defense, Smoother) and defense.copies > REHEARSED:
            defense = copy.copy(defense)
            defense.__dict__["copies"] = REHEARSED
        self.victim, self.defense, self.random = victim, defense, defense.random

    @property
    def fingerprint(self) -> str:
        """SHA-256 of victim and defense."""
        return digest(["deployed", self.victim.fingerprint, self.defense.fingerprint])

    def forward(self, x: Tensor, seeds: Tensor, taps: Sequence[str] = ()) -> Prediction:
        """Return the deployed system's prediction, without a graph.

        Raises:
            RuntimeError: the loss wants features of the victim.
        """
        if taps:
            raise RuntimeError(
                f"the deployed system shows no features, the loss wants {list(taps)}"
            )
        with torch.no_grad():
            return self.defense(x.detach(), self.victim, seeds=seeds)
