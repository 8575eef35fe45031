"""Random crops of training batches."""

import torch
from torch import Tensor


def random_crop(x: Tensor, side_px: int) -> Tensor:
    """The same random square of every image; images below that side are taken whole.

    Args:
        x: (N, C, H, W).
        side_px: of the square; torch's generator places it.
    """
    height, width = (min(side, side_px) for side in x.shape[2:])
    top = int(torch.randint(x.shape[2] - height + 1, ()))
    left = int(torch.randint(x.shape[3] - width + 1, ()))
    return x[:, :, top : top + height, left : left + width]
