"""The attacker who can only ask: answers of the deployed system, no gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.defense.core.base import Defense
from medrobust.fingerprint import digest
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.threat.base import Threat
from medrobust.threat.surrogate import Surrogate

ANSWERS = ("scores", "labels")


class QuerySurrogate(Surrogate):
    """The deployed system behind a counter: images in, answers out.

    Every image is one query, whatever the defense does behind it (a vote of
    10 000 copies is one answer).

    Args:
        victim: frozen.
        defense: as deployed, not its proxy.
        answer: `scores` gives the system's logits; `labels` only the class, as logits 0 and 1.
    """

    differentiable = False

    def __init__(self, victim: Victim, defense: Defense, answer: str) -> None:
        super().__init__()
        self.victim, self.defense, self.answer = victim, defense, answer
        self.scored, self.random = answer == "scores", defense.random

    @property
    def fingerprint(self) -> str:
        """SHA-256 of victim, defense and kind of response."""
        parts = ["blackbox", self.victim.fingerprint, self.defense.fingerprint, self.answer]
        return digest(parts)

    def forward(self, x: Tensor, seeds: Tensor, taps: Sequence[str] = ()) -> Prediction:
        """Return the deployed system's prediction, without a graph.

        Raises:
            RuntimeError: the attack wants features of the victim.
            ValueError: labels alone are wanted of a detector.
        """
        if taps:
            raise RuntimeError(
                f"threat=blackbox shows answers only, the loss wants the features {list(taps)}"
                "; set threat=oblivious or adaptive, or another loss"
            )
        with torch.no_grad():
            seen = self.defense(x.detach(), self.victim, seeds=seeds)
        if self.answer == "scores":
            return Prediction(seen.logits, abstain=seen.abstain, anchored=seen.anchored)
        if seen.anchored is not None:
            raise ValueError(
                "threat.answer=labels shows one class per image or pixel, a detector answers boxes "
                "with scores: set threat.answer=scores"
            )
        one_hot = F.one_hot(seen.label, seen.logits.shape[1]).movedim(-1, 1)
        return Prediction(one_hot.to(x.dtype), abstain=seen.abstain)


class BlackBox(Threat):
    """Queries to victim and defense as deployed; for attacks that need no gradient.

    Under `oblivious` the same attacks query the bare victim instead.

    Args:
        answer: `scores` or `labels`.
    """

    def __init__(self, answer: str = "scores") -> None:
        if answer not in ANSWERS:
            raise ValueError(f"threat.answer={answer!r}, expected one of {', '.join(ANSWERS)}")
        self.answer = answer

    def __call__(self, victim: Victim, defense: Defense) -> Surrogate:
        """The deployed system."""
        return QuerySurrogate(victim, defense, self.answer)
