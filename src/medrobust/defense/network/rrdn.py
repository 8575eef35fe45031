"""The purifier network of NRP: residual-in-residual dense blocks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SCALE = 0.2  # factor of the residual of every dense block and every group
_SLOPE = 0.2


class RRDN(nn.Module):
    """Trunk of ESRGAN (Wang et al. 2018) at the image's own size (Naseer et al. 2020).

    The released NRP has 64 features, 23 blocks, growth 32 and no `skip`.

    Args:
        channels: channels of the images, 1 or 3.
        features: number of maps between blocks.
        blocks: number of groups of three dense blocks.
        growth: number of maps that each convolution in a dense block adds.
        skip: add the image to the output, so that a briefly trained network learns only the
            residual.
    """

    def __init__(
        self, channels: int, *, features: int, blocks: int, growth: int, skip: bool
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, features, 3, padding=1)
        self.trunk = nn.Sequential(*[Group(features, growth) for _ in range(blocks)])
        self.last = nn.Conv2d(features, channels, 3, padding=1)
        self.skip = skip
        if skip:  # starts as the identity
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Purify images (N, C, H, W) in [0, 1], unclamped."""
        found = self.last(self.trunk(self.first(x)))
        return x + found if self.skip else found


class Group(nn.Module):
    """A residual group of three dense blocks.

    Args:
        features: maps.
        growth: see `RRDN`.
    """

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[Dense(features, growth) for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, features, H, W) to the same shape."""
        return torch.add(x, self.blocks(x), alpha=_SCALE)


class Dense(nn.Module):
    """A residual block of five densely connected convolutions.

    Args:
        features: maps.
        growth: see `RRDN`.
    """

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        widths = [(features + i * growth, growth) for i in range(4)]
        widths.append((features + 4 * growth, features))
        convs = [nn.Conv2d(i, o, 3, padding=1) for i, o in widths]
        for layer in convs:  # small initial residuals of a deep trunk, as in ESRGAN
            nn.init.kaiming_normal_(layer.weight, a=0, mode="fan_in")
            layer.weight.data.mul_(0.1)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.convs = nn.ModuleList(convs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, features, H, W) to the same shape."""
        maps = [x]
        for layer in self.convs[:-1]:
            maps.append(F.leaky_relu(layer(torch.cat(maps, dim=1)), _SLOPE))
        return torch.add(x, self.convs[-1](torch.cat(maps, dim=1)), alpha=_SCALE)
