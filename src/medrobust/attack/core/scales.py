"""Random images at every scale, for attacks that must start somewhere."""

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust import rng


def random_cells(seeds: Tensor, number: int, shape: torch.Size) -> Tensor:
    """The `number`-th random image of each seed: square cells of one value per channel.

    White noise is one class to many models; coarse patterns are of more. The scale changes with
    `number`: one value per pixel, then 1, 2, 4, ... cells a side, and again.

    Args:
        seeds: int64 (N,).
        number: >= 0.
        shape: (C, H, W).

    Returns:
        float32 (N, C, H, W), uniform in [0, 1).
    """
    scale = number % ((min(shape[1:]) - 1).bit_length() + 1)
    cells = (2 ** (scale - 1),) * 2 if scale else tuple(shape[1:])
    drawn = rng.uniform(rng.fold_in(seeds, number), (shape[0], *cells))
    return F.interpolate(drawn, tuple(shape[1:]), mode="nearest")
