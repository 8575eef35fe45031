"""Base class of every target rule: the class that a targeted attack aims at."""

from abc import ABC, abstractmethod

from torch import Tensor

from medrobust.configured import Configured


class Target(Configured, ABC):
    """Gives every image (or pixel) a class other than its own."""

    @abstractmethod
    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`, from clean logits (N, K[, H, W]), labels and seeds (N,)."""
