"""A small convolutional autoencoder with a low-dimensional code."""

from torch import Tensor, nn


class Autoencoder(nn.Module):
    """An autoencoder that halves the side per level with a strided convolution; mirrored decoder.

    Zhang et al. 2022 use such a stack for each image size, with ReLU between the layers and a
    sigmoid at the end; their code for 3 × 32 × 32 is 1/16 of the image.

    Args:
        channels: channels of the images, 1 or 3.
        levels: number of halvings of the side.
        maps: number of maps of the code.
        features: number of maps of the first level, doubled by each further one.
    """

    def __init__(self, channels: int, *, levels: int, maps: int, features: int) -> None:
        super().__init__()
        sizes = [channels, *(features * 2**level for level in range(levels))]
        down: list[nn.Module] = []
        up: list[nn.Module] = [nn.Conv2d(maps, sizes[-1], 3, padding=1), nn.ReLU()]
        for level in range(levels):
            down += [nn.Conv2d(sizes[level], sizes[level + 1], 4, stride=2, padding=1), nn.ReLU()]
            before, after = sizes[levels - level], sizes[levels - level - 1]
            up += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
        self.encoder = nn.Sequential(*down, nn.Conv2d(sizes[-1], maps, 3, padding=1))
        self.decoder = nn.Sequential(*up[:-1], nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct images (N, C, H, W) in [0, 1]."""
        found: Tensor = self.decoder(self.encoder(x))
        return found
