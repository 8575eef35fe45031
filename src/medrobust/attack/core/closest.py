"""The nearest adversarial image found so far, one per clean image."""

import torch
from torch import Tensor

from medrobust.attack.core.norm import distance


class Closest:
    """Keeps, image by image, the candidate that reaches the goal at the smallest distance.

    A candidate with NaN, in its pixels or its loss, is never kept; that there was one is noted in
    `undefined`, bool (N,).

    Args:
        x: clean images (N, C, H, W); returned where nothing reached the goal.
        norm: `linf` or `l2`.
    """

    def __init__(self, x: Tensor, norm: str) -> None:
        self.x = x
        self.norm = norm
        self.image = x.clone()
        self.distance = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        self.undefined = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    @property
    def reached(self) -> Tensor:
        """Bool (N,): an adversarial image was found."""
        return self.distance.isfinite()

    def offer(
        self, rows: Tensor, image: Tensor, reached: Tensor, loss: Tensor | None = None
    ) -> None:
        """Propose candidates for some of the images.

        Args:
            rows: int64 (M,), which images, without repetition.
            image: (M, C, H, W) candidates in [0, 1].
            reached: bool (M,), whether they reach the goal.
            loss: (M,) the goal's loss, which must not be NaN.
        """
        away = distance(self.x[rows], image, self.norm)
        if loss is not None:
            away = away.where(~loss.isnan(), torch.nan)
        better = reached & (away < self.distance[rows])
        self.image[rows] = image.where(better.view(-1, 1, 1, 1), self.image[rows])
        self.distance[rows] = away.where(better, self.distance[rows])
        self.undefined[rows] |= away.isnan()
