"""Random crops of training batches."""

import torch
from torch import Tensor


def random_crop(x: Tensor, side_px: int) -> Tensor:
    """Crop the same random square from every image; smaller images are kept whole.

    Args:
        x: images (N, C, H, W).
        side_px: side of the square, placed by torch's generator.
    """
    height, width = (min(side, side_px) for side in x.shape[2:])
    top = int(torch.randint(x.shape[2] - height + 1, ()))
    left = int(torch.randint(x.shape[3] - width + 1, ()))
    return x[:, :, top : top + height, left : left + width]
