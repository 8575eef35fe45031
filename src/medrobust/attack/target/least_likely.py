"""The least likely class."""

import torch
from torch import Tensor

from medrobust.attack.core.target import Target


class LeastLikely(Target):
    """The class with the smallest clean logit that is not the true one (Kurakin et al. 2017)."""

    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`."""
        return logits.scatter(1, y.unsqueeze(1), torch.inf).argmin(dim=1)
