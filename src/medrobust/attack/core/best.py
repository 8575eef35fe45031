"""The best image found so far, one per clean image."""

import torch
from torch import Tensor


class Best:
    """Keeps, image by image, the candidate that ranks highest by (reached the goal, loss).

    Of equals the later one is kept, so that an attack that finds nothing returns its last try.
    Nothing here waits for the device.

    Args:
        x: clean images (N, C, H, W); returned only where no candidate was ever offered.
    """

    def __init__(self, x: Tensor) -> None:
        self.image = x.clone()
        self.loss = x.new_full(
            (len(x),), -torch.inf, dtype=torch.promote_types(x.dtype, torch.float32)
        )
        self.reached = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.undefined = torch.zeros_like(self.reached)

    def offer(self, rows: Tensor, image: Tensor, loss: Tensor, reached: Tensor) -> None:
        """Propose candidates for some of the images.

        Args:
            rows: int64 (M,), which images, without repetition.
            image: (M, C, H, W) candidates.
            loss: (M,) the goal's loss at the candidates.
            reached: bool (M,), whether they reach the goal.
        """
        loss = loss.to(self.loss.dtype)
        old_loss, old_reached = self.loss[rows], self.reached[rows]
        better = (reached & ~old_reached) | ((reached == old_reached) & (loss >= old_loss))
        self.image[rows] = image.where(better.view(-1, 1, 1, 1), self.image[rows])
        self.loss[rows] = loss.where(better, old_loss)
        self.reached[rows] = old_reached | reached
        self.undefined[rows] |= loss.isnan()
