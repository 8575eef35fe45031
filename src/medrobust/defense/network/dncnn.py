"""DnCNN, a denoiser."""

from torch import Tensor, nn


class DnCNN(nn.Module):
    """Convolutions that estimate the noise, which is subtracted (Zhang et al. 2017).

    The original has 17 layers of 64 maps, with batch norm and ReLU between them.

    Args:
        channels: channels of the images, 1 or 3.
        features: number of maps inside.
        depth: number of convolutions, at least 3.
    """

    def __init__(self, channels: int, *, features: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, features, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            conv = nn.Conv2d(features, features, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(features), nn.ReLU()]
        last = nn.Conv2d(features, channels, 3, padding=1)
        nn.init.zeros_(last.weight)  # starts as the identity
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.noise = nn.Sequential(*layers, last)

    def forward(self, x: Tensor) -> Tensor:
        """Denoise images (N, C, H, W) in [0, 1], unclamped."""
        found: Tensor = x - self.noise(x)
        return found
