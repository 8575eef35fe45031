"""Rules that choose the class a targeted attack aims at."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from medrobust.configured import Configured
from medrobust.number import whole
from medrobust.rng import fold_in, integers

_STREAM = 0x7A26  # keeps the draw of a target apart from the attack's own noise


class Target(Configured, ABC):
    """Gives every image (or pixel) a class other than its own."""

    @abstractmethod
    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`, from clean logits (N, K[, H, W]), labels and seeds (N,)."""


class NextClass(Target):
    """(y + 1) mod K; in a binary task the other class."""

    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`."""
        return (y + 1) % logits.shape[1]


class LeastLikely(Target):
    """The class with the smallest clean logit that is not the true one (Kurakin et al. 2017)."""

    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`."""
        return logits.scatter(1, y.unsqueeze(1), torch.inf).argmin(dim=1)


class MostLikely(Target):
    """The class with the largest clean logit that is not the true one: the easiest target."""

    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`."""
        return logits.scatter(1, y.unsqueeze(1), -torch.inf).argmax(dim=1)


class RandomClass(Target):
    """A class drawn uniformly among the others, one per image."""

    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`."""
        step = 1 + integers(fold_in(seeds, _STREAM), logits.shape[1] - 1)
        return (y + step.view(-1, *[1] * (y.ndim - 1))) % logits.shape[1]


class FixedClass(Target):
    """One class for all images.

    Args:
        label: class index.
    """

    def __init__(self, label: int) -> None:
        self.label = whole(label, "attack.target.label")

    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`."""
        if self.label >= logits.shape[1]:
            raise ValueError(
                f"attack.target.label={self.label}, but the model has classes 0 to "
                f"{logits.shape[1] - 1}"
            )
        return torch.full_like(y, self.label)
