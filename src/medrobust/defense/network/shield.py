"""The networks of Shield: one detector per class, batched, on shared features."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.model.core.conv import SMALLEST_BATCH

_FLOOR = 0.03
"""Minimum standard deviation, in units of the tap's mean one, so that a feature that hardly varies
on clean images does not outweigh all others."""


class ShieldNetwork(nn.Module):
    """Maps tapped features of a victim to a logit of "clean" from each class's detector.

    A map is described by the mean and standard deviation of each of its channels. These are
    standardised by the clean training images, then passed through arsinh, which limits outliers.
    Each detector is a perceptron with two hidden layers; all are computed at once.

    Args:
        shapes: shapes of the taps' outputs, {tap: (C, ...)}.
        classes: number of classes K.
        hidden: units of each of a detector's two layers.
    """

    centre: Tensor
    spread: Tensor
    standardised: Tensor

    def __init__(
        self, shapes: Mapping[str, Sequence[int]], *, classes: int, hidden: int = 128
    ) -> None:
        super().__init__()
        self.taps = tuple(shapes)
        self.sizes = [shape[0] * (2 if len(shape) > 1 else 1) for shape in shapes.values()]
        size = sum(self.sizes)
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        self.register_buffer("standardised", torch.tensor(False))
        self.first = nn.Linear(size, classes * hidden)
        self.second = nn.Parameter(torch.empty(classes, hidden, hidden))
        self.third = nn.Parameter(torch.empty(classes, hidden, 1))
        self.second_bias = nn.Parameter(torch.zeros(classes, 1, hidden))
        self.third_bias = nn.Parameter(torch.zeros(classes, 1, 1))
        for weight in (self.second, self.third):
            nn.init.uniform_(weight, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden))

    def describe(self, features: Mapping[str, Tensor]) -> Tensor:
        """Compute the detectors' input before standardisation, (N, D)."""
        return torch.cat([moments(features[tap]) for tap in self.taps], 1)

    def standardise(self, numbers: Tensor) -> None:
        """Set centre and spread from clean images.

        Args:
            numbers: output of `describe`, (M, D).
        """
        found = numbers.double()
        spread = found.std(0, correction=0)
        floor = [_FLOOR * part.mean().expand(len(part)) for part in spread.split(self.sizes)]
        least = torch.cat(floor).clamp(min=1e-12)
        self.centre.copy_(found.mean(0))
        self.spread.copy_(spread.maximum(least))
        self.standardised.fill_(True)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Compute the logits of "clean" (N, K), one from each class's detector."""
        return self.detect(self.describe(features))

    def detect(self, numbers: Tensor) -> Tensor:
        """Compute the logits of `forward` from the output of `describe`."""
        count = len(numbers)
        missing = max(0, SMALLEST_BATCH - count) if count and not self.training else 0
        if missing:  # small batches would be summed in another order
            numbers = torch.cat([numbers, numbers[:1].detach().expand(missing, -1)])
        seen = F.silu(self.first(((numbers - self.centre) / self.spread).arcsinh()))
        seen = seen.unflatten(1, (len(self.second), -1)).transpose(0, 1)  # (K, N, hidden)
        seen = F.silu(seen @ self.second + self.second_bias)
        return (seen @ self.third + self.third_bias)[:, :count, 0].t()


def moments(features: Tensor) -> Tensor:
    """Compute mean and standard deviation over positions, (N, C, ...) -> (N, 2 C); keeps (N, C)."""
    if features.ndim == 2:
        return features
    pixels = features.flatten(2)
    mean = pixels.mean(2)
    variance = (pixels - mean[:, :, None]).square().mean(2)  # `var_mean` takes ten times as long
    return torch.cat([mean, variance.clamp(min=1e-12).sqrt()], 1)
