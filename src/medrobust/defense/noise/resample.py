"""Images read at other places than their pixels, each image of a batch at its own."""

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
    """The images' values at the given places; linear in `x`, with the exact gradient.

    Args:
        x: images (N, C, H, W) in [0, 1].
        rows: where to read, in pixels: 0 is the centre of the first row, H - 1 of the last.
            Broadcasts with `columns` to (N, H', W').
        columns: as `rows`, along the width.
        mode: between pixels, a weighted mean of four or the nearest.
        outside: what lies around the image: zeros, or its edge continued.

    Returns:
        (N, C, H', W') in [0, 1].
    """
    height, width = x.shape[2:]
    places = ((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1)
    grid = torch.stack(torch.broadcast_tensors(*places), dim=3).to(x.dtype)
    found = F.grid_sample(x, grid, mode=mode, padding_mode=outside, align_corners=False)
    # Rounding may leave [0, 1] by a last bit, which must not cut white pixels' gradient.
    return found + (found.clamp(0, 1) - found).detach()


def draw_whole(draw: Tensor, low: int, high: int | Tensor) -> Tensor:
    """Whole numbers from `low` to `high`, both included, from uniform draws.

    Args:
        draw: in [0, 1), of any shape.
        low: smallest.
        high: at least `low`, one for all or like `draw`.

    Returns:
        int64, like `draw`.
    """
    return low + (draw.double() * (high - low + 1)).long()
