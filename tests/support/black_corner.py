"""A defense that fails on chosen images; in a module that other processes can import."""

import os
import signal

from torch import Tensor

from medrobust.defense.median import Median
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction


class BlackCorner(Median):
    """Fails for the images whose first pixel is black: raises, or has its process killed."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        if (x[:, :, 0, 0] == 0).all(dim=1).any():
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("a black corner")
        return super().forward(x, victim, seeds=seeds)
