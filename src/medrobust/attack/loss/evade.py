"""Evasion: how far below its threshold a detector's score lies."""

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from medrobust.attack.core.loss import Loss
from medrobust.prediction import Prediction

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate


class Evade(Loss):
    """threshold - score: positive where the detector accepts the image; no label enters.

    Alone it only hides; with a loss of the answer it is half of `WB` and `Joint`. It knows nothing
    of how a detector works, only what the surrogate's prediction says.
    """

    evades = True

    def bind(
        self, surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> Self:
        """Itself, if there is a detector to evade.

        Raises:
            EvasionError: the surrogate shows no score, or no threshold.
        """
        if len(x):
            with torch.no_grad():
                room(surrogate(x[:1], seeds[:1]), type(surrogate).__name__)
        return self

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Threshold - score (N,)."""
        return room(prediction)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Threshold - score (N,)."""
        return room(prediction)


class EvasionError(ValueError):
    """An attack is to evade a detector that it does not see."""


def room(prediction: Prediction, where: str = "the surrogate") -> Tensor:
    """Threshold - score (N,).

    Args:
        prediction: of a detector.
        where: it came from, for the error.

    Raises:
        EvasionError: it has no score, or no threshold.
    """
    if prediction.score is None or prediction.threshold is None:
        lacking = "score" if prediction.score is None else "threshold"
        raise EvasionError(
            f"{where} shows no detector's {lacking} that could be evaded: set threat=adaptive and "
            "a detector as the defense (threat=oblivious, transfer and blackbox do not show it), "
            "or another attack"
        )
    return prediction.threshold - prediction.score
