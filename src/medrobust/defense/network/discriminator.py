"""The critic of a purifier's adversarial training."""

from torch import Tensor, nn

_SLOPE = 0.2


class Discriminator(nn.Module):
    """VGG-like critic: pairs of convolutions, the second with stride 2, then a global mean.

    The mean, instead of linear layers of a fixed map size, accepts images of any size.

    Args:
        channels: channels of the images, 1 or 3.
        features: number of maps of the first pair, doubled by each pair up to eight times.
        blocks: number of pairs.
    """

    def __init__(self, channels: int, *, features: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for index in range(blocks):
            after = features * min(2**index, 8)
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.LeakyReLU(_SLOPE)]
            layers += [nn.Conv2d(after, after, 4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(_SLOPE)]
            before = after
        self.maps = nn.Sequential(*layers)
        self.judge = nn.Linear(before, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1], sides of at least 2**blocks, to logits (N,)."""
        return self.judge(self.maps(x - 0.5).mean(dim=(2, 3)))[:, 0]
