"""Images, weights and victims of the traps."""

import torch
from torch import Tensor, nn

from medrobust.model.core.victim import Victim

COUNT, SIDE = 512, 8
PIXELS = SIDE * SIDE
CANDIDATES = 8000


def generator(seed: int) -> torch.Generator:
    """Return a seeded generator."""
    return torch.Generator().manual_seed(seed)


def uniform_images(low: float, high: float, seed: int) -> Tensor:
    """Draw candidates (8000, 1, 8, 8) with pixels between `low` and `high`."""
    noise = torch.rand(CANDIDATES, 1, SIDE, SIDE, generator=generator(seed))
    return low + (high - low) * noise


def direction(seed: int) -> Tensor:
    """Draw the weights (64,) of a score, of L2 norm 1."""
    weight = torch.randn(PIXELS, generator=generator(seed))
    return weight / weight.norm()


def head(weight: Tensor, centre: Tensor) -> nn.Sequential:
    """Return a linear layer that is zero at the mean of `centre`.

    Args:
        weight: (K, P); one row is the single logit of the second of two classes.
        centre: inputs (N, ...) of P numbers each.
    """
    layer = nn.Linear(weight.shape[1], len(weight))
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(-weight @ centre.flatten(1).mean(0))
    return nn.Sequential(nn.Flatten(), layer)


def victim_of(network: nn.Module, channels: int = 1) -> Victim:
    """Return the network as a frozen victim without normalisation."""
    scaling = {"mean": [0.0] * channels, "std": [1.0] * channels}
    return Victim(network, **scaling).freeze()


class Fold(nn.Module):
    """Maps v to |2v - 1|: a victim behind it reads dark and bright pixels alike."""

    def forward(self, x: Tensor) -> Tensor:
        return (2 * x - 1).abs()


def clear(clean: Tensor, worst: Tensor, gap: float, count: int = COUNT) -> Tensor:
    """Choose images whose margins no rounding error and no small weakness of an attack decides.

    Args:
        clean: margin (N,) of the clean image, positive where it is right.
        worst: margin (N,) under the best perturbation, positive where it stays right.
        gap: how far from zero both are.
        count: number of images wanted.

    Returns:
        int64 (count,), their places.
    """
    found = ((clean > gap) & (worst.abs() > gap)).nonzero().flatten()
    assert len(found) >= count, f"{len(found)} images of {len(clean)} are clear"
    return found[:count]
