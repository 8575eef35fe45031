"""A defense that does not like some images."""

from torch import Tensor

from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction


class Picky(Defense):
    """Raises for images whose mean is above `brightest`.

    Args:
        brightest: mean of [0, 1] pixels.
    """

    def __init__(self, brightest: float) -> None:
        super().__init__()
        self.brightest = brightest

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        if (x.mean(dim=(1, 2, 3)) > self.brightest).any():
            raise ZeroDivisionError("too bright for me")
        return Prediction(victim(x))


class NotANumber(Defense):
    """NaN for images whose mean is above `brightest`.

    Args:
        brightest: mean of [0, 1] pixels.
    """

    def __init__(self, brightest: float) -> None:
        super().__init__()
        self.brightest = brightest

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        bright = (x.mean(dim=(1, 2, 3)) > self.brightest)[:, None]
        return Prediction(victim(x).masked_fill(bright, float("nan")))
