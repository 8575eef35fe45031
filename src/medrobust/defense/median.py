"""Median filter."""

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.defense.base import Purifier
from medrobust.number import whole

# Median of nine by 19 exchanges (Devillard 1998 after Paeth 1990): each pair is sorted in place,
# and the median ends in place 4. Exchanges are whole-batch minima and maxima, several times
# faster than sorting windows, and autograd goes through them exactly.
_EXCHANGES = (
    (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3),
    (5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2),
)  # fmt: skip


class Median(Purifier):
    """Median over a square window, per channel, edges mirrored (Xu, Evans and Qi 2018).

    Args:
        window: side in pixels, odd, at least 3.
    """

    def __init__(self, window: int = 3) -> None:
        super().__init__()
        self.window = whole(window, "defense.window", low=3)
        if window % 2 == 0:
            raise ValueError(f"defense.window={window} is even; expected an odd side in pixels")

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape; the edge pixel is not repeated when mirrored."""
        half = self.window // 2
        if min(x.shape[2:]) <= half:
            raise ValueError(
                f"defense.window={self.window} does not fit images of {tuple(x.shape[2:])} pixels"
            )
        padded = F.pad(x, (half, half, half, half), mode="reflect")
        height, width = x.shape[2:]
        if self.window > 3:
            windows = padded.unfold(2, self.window, 1).unfold(3, self.window, 1)
            return windows.flatten(4).median(dim=4).values
        values = [
            padded[:, :, row : row + height, column : column + width]
            for row in range(3)
            for column in range(3)
        ]
        for low, high in _EXCHANGES:
            values[low], values[high] = (
                torch.minimum(values[low], values[high]),
                torch.maximum(values[low], values[high]),
            )
        return values[4]
