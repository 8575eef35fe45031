"""The next class."""

from torch import Tensor

from medrobust.attack.core.target import Target


class NextClass(Target):
    """(y + 1) mod K; in a binary task the other class."""

    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`."""
        return (y + 1) % logits.shape[1]
