"""Base class of every criterion: when an image counts as fooled."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from medrobust.configured import Configured
from medrobust.prediction import Prediction


class Criterion(Configured, ABC):
    """Decides, image by image, whether the attack has won."""

    fools: ClassVar[bool] = True
    """False if no image ever counts as fooled; then fooling none is no failure."""

    @abstractmethod
    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Untargeted: bool (N,), True where the answer is no longer `y`."""

    @abstractmethod
    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Targeted: bool (N,), True where the answer has become `target`."""
