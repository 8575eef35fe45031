"""One class for all images."""

import torch
from torch import Tensor

from medrobust.attack.core.target import Target
from medrobust.number import whole


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
