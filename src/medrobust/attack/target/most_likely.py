"""The most likely wrong class."""

import torch
from torch import Tensor

from medrobust.attack.core.target import Target


class MostLikely(Target):
    """The class with the largest clean logit that is not the true one: the easiest target."""

    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`."""
        return logits.scatter(1, y.unsqueeze(1), -torch.inf).argmax(dim=1)
