"""Noises that a vote samples: Gaussian, salt and pepper, Poisson.

Each is a function of image and per-image seeds, clips to [0, 1], and lets gradients through as
far as they exist, so that an adaptive attacker sees what there is to see.
"""

from abc import ABC, abstractmethod
from functools import lru_cache

import numpy as np
import torch
from scipy.stats import poisson
from torch import Tensor

from medrobust.number import fraction
from medrobust.rng import fold_in, normal, uniform
from medrobust.settings import Configured


class Noise(Configured, ABC):
    """One noisy copy of each image."""

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

    Drawn exactly, by inversion: Poisson(λ) is Poisson(⌊λ⌋) from a table of distribution
    functions plus an independent Poisson(λ - ⌊λ⌋) from its first terms.

    Args:
        peak: expected count of a white pixel, 1 to 4096.
    """

    def __init__(self, peak: float = 255.0) -> None:
        self.peak = fraction(peak, "defense.noise.peak", low=1, high=4096)

    def __call__(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Noisy images."""
        with torch.no_grad():
            rate = x.detach() * self.peak
            base = rate.floor()
            counts = self._whole(base, uniform(seeds, x.shape[1:]))
            counts += _small(rate - base, uniform(fold_in(seeds, 0), x.shape[1:]))
            change = (counts / self.peak).clamp(0, 1).to(x.dtype) - x
        return x + change

    def _whole(self, rate: Tensor, draw: Tensor) -> Tensor:
        """Poisson counts for whole rates (float tensor), from uniforms of the same shape."""
        table, starts = (part.to(rate.device) for part in _table(int(np.ceil(self.peak))))
        row = rate.long()
        place = torch.searchsorted(table, row.double() + draw.double(), right=True)
        return (place - starts[row]).to(draw.dtype)


def _small(rate: Tensor, draw: Tensor) -> Tensor:
    """Poisson counts for rates in [0, 1): P(count > 9) < 1.2e-7, a uniform's resolution."""
    term = torch.exp(-rate.to(draw.dtype))
    below, counts = term.clone(), torch.zeros_like(draw)
    for count in range(1, 10):
        counts += draw >= below
        term = term * rate / count
        below += term
    return counts


@lru_cache(maxsize=4)
def _table(largest: int) -> tuple[Tensor, Tensor]:
    """Distribution functions of Poisson(0..largest), row r shifted by r into one sorted list.

    Returns:
        float64 list, and int64 (largest + 1,) start of each row in it.
    """
    rows = []
    for rate in range(largest + 1):
        support = np.arange(int(rate + 8 * np.sqrt(rate) + 12))
        row = poisson.cdf(support, rate)
        row[-1] = 1.0
        rows.append(rate + np.minimum(row, 1.0))
    starts = np.cumsum([0, *(len(row) for row in rows[:-1])])
    return torch.from_numpy(np.concatenate(rows)), torch.from_numpy(starts)
