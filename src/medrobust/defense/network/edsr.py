"""EDSR, a super-resolution network."""

import torch
from torch import Tensor, nn

_STAGES = {2: (2,), 3: (3,), 4: (2, 2)}


class EDSR(nn.Module):
    """Residual blocks without normalisation, then sub-pixel convolutions (Lim et al. 2017).

    The original has 32 blocks of 256 features with `residual_scale` 0.1; its baseline, released by
    Mustafa et al. 2019, has 16 blocks of 64 with 1.

    Args:
        channels: channels of the images, 1 or 3.
        features: number of maps inside.
        blocks: number of residual blocks.
        residual_scale: factor of each block's residual.
        scale: upscaling factor, 2, 3 or 4.
    """

    def __init__(
        self,
        channels: int,
        *,
        features: int,
        blocks: int,
        residual_scale: float = 1.0,
        scale: int = 2,
    ) -> None:
        super().__init__()
        if scale not in _STAGES:
            raise ValueError(f"EDSR enlarges by {sorted(_STAGES)}, got scale={scale}")
        self.head = conv(channels, features)
        body = [Block(features, residual_scale) for _ in range(blocks)]
        self.body = nn.Sequential(*body, conv(features, features))
        stages: list[nn.Module] = []
        for factor in _STAGES[scale]:
            stages += [conv(features, features * factor**2), nn.PixelShuffle(factor)]
        self.tail = nn.Sequential(*stages, conv(features, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Upscale images (N, C, H, W) in [0, 1] to (N, C, scale H, scale W), unclamped."""
        first = self.head(x - 0.5)
        return self.tail(first + self.body(first)) + 0.5


class Block(nn.Module):
    """A residual block of convolution, ReLU and convolution.

    Args:
        features: number of maps.
        residual_scale: factor of the residual.
    """

    def __init__(self, features: int, residual_scale: float) -> None:
        super().__init__()
        self.change = nn.Sequential(conv(features, features), nn.ReLU(), conv(features, features))
        self.residual_scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, features, H, W) to the same shape."""
        return torch.add(x, self.change(x), alpha=self.residual_scale)


def conv(before: int, after: int) -> nn.Conv2d:
    """Build a 3 × 3 convolution that keeps the size."""
    return nn.Conv2d(before, after, kernel_size=3, padding=1)
