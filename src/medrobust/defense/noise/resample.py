"""Resampling of images at arbitrary positions, batched."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def resample(
    x: Tensor,
    rows: Tensor,
    columns: Tensor,
    *,
    mode: Literal["bilinear", "nearest"],
    outside: Literal["zeros", "border"],
) -> Tensor:
    """Sample images at the given positions; linear in `x`, with the exact gradient.

    Args:
        x: images (N, C, H, W) in [0, 1].
        rows: row positions in pixels: 0 is the centre of the first row, H - 1 of the last.
            Broadcasts with `columns` to (N, H', W').
        columns: column positions, likewise.
        mode: interpolation between pixels.
        outside: values outside the image: zeros, or those of its border.

    Returns:
        (N, C, H', W') in [0, 1].
    """
    height, width = x.shape[2:]
    places = ((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1)
    grid = torch.stack(torch.broadcast_tensors(*places), dim=3).to(x.dtype)
    found = F.grid_sample(x, grid, mode=mode, padding_mode=outside, align_corners=False)
    # Rounding may exceed [0, 1] by one bit, which must not cut the gradient of white pixels.
    return found + (found.clamp(0, 1) - found).detach()


def draw_whole(draw: Tensor, low: int, high: int | Tensor) -> Tensor:
    """Convert uniform draws to whole numbers from `low` to `high`, both included.

    Args:
        draw: numbers in [0, 1), any shape.
        low: smallest number.
        high: largest number, a scalar or like `draw`.

    Returns:
        int64, like `draw`.
    """
    return low + (draw.double() * (high - low + 1)).long()
