"""A random wrong class."""

from torch import Tensor

from medrobust.attack.core.target import Target
from medrobust.rng import fold_in, integers

_STREAM = 0x7A26  # keeps the draw of a target apart from the attack's own noise


class RandomClass(Target):
    """A class drawn uniformly among the others, one per image."""

    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`."""
        step = 1 + integers(fold_in(seeds, _STREAM), logits.shape[1] - 1)
        return (y + step.view(-1, *[1] * (y.ndim - 1))) % logits.shape[1]
