"""Noises that a vote samples: Gaussian, salt and pepper, Poisson.

Each is a function of image and per-image seeds, clips to [0, 1], and lets gradients through as
far as they exist, so that an adaptive attacker sees what there is to see.
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
    """One noisy copy of each image."""

    moves_pixels: ClassVar[bool] = False
    """A pixel of the copy is not where it was in the image."""

    @abstractmethod
    def __call__(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1], seeds int64 (N,) -> noisy images in [0, 1]."""


class GaussianNoise(Noise):
    """x + N(0, sigma²), independent per value, then clipped.

    Args:
        sigma: standard deviation in [0, 1] units.
    """

    def __init__(self, sigma: float = 0.1) -> None:
        self.sigma = fraction(sigma, "defense.noise.sigma", high=10)

    def __call__(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Noisy images."""
        return (x + self.sigma * normal(seeds, x.shape[1:]).to(x.dtype)).clamp(0, 1)


class SaltPepperNoise(Noise):
    """A share of the pixels becomes white or black, in all channels at once, half and half.

    Args:
        sigma: expected share of changed pixels, in [0, 1].
    """

    def __init__(self, sigma: float = 0.1) -> None:
        self.sigma = fraction(sigma, "defense.noise.sigma")

    def __call__(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Noisy images; replaced pixels pass no gradient."""
        draw = uniform(seeds, (1, *x.shape[2:]))
        white = (draw < self.sigma / 2).to(x.dtype)
        return torch.where(draw < self.sigma, white, x)


class PoissonNoise(Noise):
    """Photon counting: Poisson(peak · x) / peak, then clipped; the gradient is the identity's.

    A pixel's deviation is √(x / peak): 0.063 for white at a peak of 255, 0.1 at a peak of 100.
    Drawn exactly: Poisson(λ) is Poisson(⌊λ⌋) plus an independent Poisson(λ - ⌊λ⌋). Rates within
    2**-14 of a whole number, as an 8-bit image has at a peak of 255 up to rounding, are taken as
    whole.

    Args:
        peak: expected count of a white pixel, 1 to 1024.
    """

    def __init__(self, peak: float = 255.0) -> None:
        self.peak = fraction(peak, "defense.noise.peak", low=1, high=1024)

    def __call__(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Noisy images."""
        with torch.no_grad():
            rate = x.detach() * self.peak
            whole = (rate + _ROUNDING).floor_()
            rest = F.threshold(rate - whole, _ROUNDING, 0.0)
            words = _half_words(seeds, x[0].numel()).view(x.shape)
            counts = whole_rates(whole.long(), words, math.ceil(self.peak))
            # Looking at the values waits for the device; a CPU saves more than it waits.
            if x.device.type != "cpu" or rest.any():
                counts += small_rates(rest, uniform(fold_in(seeds, 0), x.shape[1:]))
            change = (counts.to(x.dtype) / self.peak).clamp_(0, 1) - x
        return x + change


def _half_words(seeds: Tensor, count: int) -> Tensor:
    """32 random bits each, int64 (N, count)."""
    words = bits(seeds, (count + 1) // 2)
    low, high = words.bitwise_and(0xFFFFFFFF), (words >> 32).bitwise_and_(0xFFFFFFFF)
    return torch.cat((high, low), dim=1)[:, :count]
