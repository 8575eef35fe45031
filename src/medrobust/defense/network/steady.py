"""Convolutional networks that round an image alike in any batch."""

import torch
from torch import Tensor, nn

from medrobust.model.core.conv import SMALLEST_BATCH
from medrobust.model.core.victim import SMALL_IMAGE


def steady(network: nn.Module, x: Tensor) -> Tensor:
    """The network's answer to a batch; few images are filled up.

    Libraries choose how to sum by the batch's size, and a batch of one image or of few small ones
    rounds otherwise than a full one.

    Args:
        network: frozen or not; no layer mixes images.
        x: (N, C, H, W).
    """
    least = SMALLEST_BATCH if x.shape[2] * x.shape[3] <= SMALL_IMAGE else 2
    missing = least - len(x)
    x = x.contiguous()
    if missing <= 0 or len(x) == 0:
        return network(x)
    return network(torch.cat([x, x[:1].detach().expand(missing, -1, -1, -1)]))[: len(x)]
