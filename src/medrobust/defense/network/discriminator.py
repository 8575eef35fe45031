"""The critic that a purifier is trained against."""

from torch import Tensor, nn

_SLOPE = 0.2


class Discriminator(nn.Module):
    """VGG-like: pairs of convolutions, the second with stride 2, then the mean over the map.

    The mean in place of linear layers of one map size takes images of any size.

    Args:
        channels: of the images, 1 or 3.
        features: maps of the first pair; doubled by each pair, up to eight times.
        blocks: pairs.
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
        """Images (N, C, H, W) in [0, 1], sides of at least 2**blocks -> logits (N,)."""
        return self.judge(self.maps(x - 0.5).mean(dim=(2, 3)))[:, 0]
