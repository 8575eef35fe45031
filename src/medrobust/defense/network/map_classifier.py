"""A small classifier of feature maps."""

from collections.abc import Sequence

from torch import Tensor, nn


class MapClassifier(nn.Sequential):
    """A classifier of feature maps to one logit (Metzen et al. 2017, Figure 1).

    Three 3×3 convolutions with batch norm and ReLU, then a 1×1 convolution whose map is averaged.
    After the first two, max-pooling halves maps whose shorter side is 16 or more; the paper pools
    twice at 32 pixels, once at 16 and not at 8. A vector counts as a map of one pixel.

    Args:
        shape: shape of a feature map, (C, H, W), or of a vector, (D,).
        widths: channels of the three convolutions.
    """

    def __init__(self, shape: Sequence[int], widths: Sequence[int] = (96, 192, 192)) -> None:
        channels, *sides = shape
        side = min(sides, default=1)
        layers: list[nn.Module] = []
        for place, width in enumerate(widths):
            layers += [
                nn.Conv2d(channels, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            if place < 2 and side >= 16:
                layers.append(nn.MaxPool2d(2))
                side //= 2
            channels = width
        super().__init__(*layers, nn.Conv2d(channels, 1, 1), nn.AdaptiveAvgPool2d(1))

    def forward(self, maps: Tensor) -> Tensor:
        """Map features (N, C, H, W) to logits (N,)."""
        logits: Tensor = super().forward(maps)
        return logits.flatten()


def as_maps(features: Tensor) -> Tensor:
    """Reshape vectors (N, D) to maps of one pixel; maps (N, C, H, W) are kept."""
    return features if features.ndim == 4 else features.flatten(1)[:, :, None, None]
