"""Convolutional networks whose rounding does not depend on the batch."""

import torch
from torch import Tensor, nn

from medrobust.model.core.conv import SMALLEST_BATCH
from medrobust.model.core.victim import SMALL_IMAGE


def steady(network: nn.Module, x: Tensor) -> Tensor:
    """Apply a network to a batch, padded if it is small.

    Libraries choose the order of sums by the batch size, so that small batches round differently
    from full ones.

    Args:
        network: network without a layer that mixes images.
        x: images (N, C, H, W).
    """
    least = SMALLEST_BATCH if x.shape[2] * x.shape[3] <= SMALL_IMAGE else 2
    missing = least - len(x)
    x = x.contiguous()
    if missing <= 0 or len(x) == 0:
        return network(x)
    return network(torch.cat([x, x[:1].detach().expand(missing, -1, -1, -1)]))[: len(x)]
