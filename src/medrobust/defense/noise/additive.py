"""Noises for the copies of a vote: Gaussian, salt and pepper, Poisson.

Each is a function of image and per-image seeds, clips to [0, 1], and is differentiable where a
gradient exists, for an adaptive attacker.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.configured import Configured
from medrobust.defense.noise.poisson import small_rates, whole_rates
from medrobust.number import fraction
from medrobust.rng import bits, fold_in, normal, uniform

_ROUNDING = 2.0**-14


class Noise(Configured, ABC):
    """Draws one noisy copy of each image."""

    moves_pixels: ClassVar[bool] = False
    """True if pixels change their place."""

    @abstractmethod
    def __call__(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] and seeds int64 (N,) to noisy images in [0, 1]."""


class GaussianNoise(Noise):
    """Adds N(0, sigma²), independent per value, then clips.

    Args:
        sigma: standard deviation in [0, 1] units.
    """

    def __init__(self, sigma: float = 0.1) -> None:
        self.sigma = fraction(sigma, "defense.noise.sigma", high=10)

    def __call__(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return noisy images."""
        return (x + self.sigma * normal(seeds, x.shape[1:]).to(x.dtype)).clamp(0, 1)


class SaltPepperNoise(Noise):
    """Replaces a share of the pixels by white or black, half each, in all channels at once.

    Args:
        sigma: expected share of changed pixels, in [0, 1].
    """

    def __init__(self, sigma: float = 0.1) -> None:
        self.sigma = fraction(sigma, "defense.noise.sigma")

    def __call__(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return noisy images; replaced pixels have no gradient."""
        draw = uniform(seeds, (1, *x.shape[2:]))
        white = (draw < self.sigma / 2).to(x.dtype)
        return torch.where(draw < self.sigma, white, x)


class PoissonNoise(Noise):
    """Photon noise, Poisson(peak · x) / peak, then clipped; its gradient is the identity.

    A pixel's standard deviation is √(x / peak): 0.063 for white at a peak of 255, 0.1 at 100.
    Counts are exact: Poisson(λ) is Poisson(⌊λ⌋) plus an independent Poisson(λ - ⌊λ⌋). Rates within
    2**-14 of a whole number, as of an 8-bit image at a peak of 255, are treated as whole.

    Args:
        peak: expected count of a white pixel, 1 to 1024.
    """

    def __init__(self, peak: float = 255.0) -> None:
        self.peak = fraction(peak, "defense.noise.peak", low=1, high=1024)

    def __call__(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return noisy images."""
        with torch.no_grad():
            rate = x.detach() * self.peak
            whole = (rate + _ROUNDING).floor_()
            rest = F.threshold(rate - whole, _ROUNDING, 0.0)
            words = _half_words(seeds, x[0].numel()).view(x.shape)
            counts = whole_rates(whole.long(), words, math.ceil(self.peak))
            # Testing the values synchronises the device, which pays off only on a CPU.
            if x.device.type != "cpu" or rest.any():
                counts += small_rates(rest, uniform(fold_in(seeds, 0), x.shape[1:]))
            change = (counts.to(x.dtype) / self.peak).clamp_(0, 1) - x
        return x + change


def _half_words(seeds: Tensor, count: int) -> Tensor:
    """Draw 32 random bits each, int64 (N, count)."""
    words = bits(seeds, (count + 1) // 2)
    low, high = words.bitwise_and(0xFFFFFFFF), (words >> 32).bitwise_and_(0xFFFFFFFF)
    return torch.cat((high, low), dim=1)[:, :count]
