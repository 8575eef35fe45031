"""MDDA: multiscale diffusion, denoising and aggregation."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.defense.core.base import Purifier, StraightThroughPurifier
from medrobust.defense.core.tv import rof
from medrobust.number import NumberError, fraction, whole
from medrobust.rng import fold_in, normal

SMALLEST = 2
"""Minimum side of a scale in pixels; smaller ones have no differences to denoise."""


class MDDA(Purifier):
    """Alternating noise and total-variation denoising on an aggregating pyramid (Eq. 6-15).

    Every round adds N(0, sigma2 / steps) to every scale, denoises it by the anisotropic ROF model
    and clips it to [0, 1] (Eq. 9). Then it averages each scale with its neighbours in the pyramid,
    resampled to it: all scales are denoised before the first is averaged, and each counts once,
    which is Eq. 15 normalised. At the end all scales are resampled to the image's size and
    averaged. Downsampling is nearest (of pixel centres), upsampling bicubic (a = -0.75).

    The gradient is exact through the iterations of the denoiser, at fixed noise.

    Args:
        steps: number of rounds N.
        sigma2: total noise variance on images in [0, 1], split evenly over the rounds.
        gamma: weight of fidelity in Eq. 13 on images in [0, 1]; smaller is smoother.
        iterations: iterations of split Bregman; None for 200 / gamma, at least 10, which is within
            1 % of the minimum energy.
        scales: scales of the pyramid, increasing; numbers or text such as `1/4`.
    """

    random = True

    def __init__(
        self,
        steps: int = 5,
        sigma2: float = 0.125,
        *,
        gamma: float = 5.0,
        iterations: int | None = None,
        scales: Sequence[float | str] = ("1/4", "1/2", 1, 2),
    ) -> None:
        super().__init__()
        self.steps = whole(steps, "defense.steps", low=1)
        self.sigma2 = fraction(sigma2, "defense.sigma2", high=10)
        self.gamma = fraction(gamma, "defense.gamma", high=1e6, above=True)
        enough = max(10, math.ceil(200 / self.gamma))
        self.iterations = whole(
            enough if iterations is None else iterations, "defense.iterations", low=1
        )
        self.scales = [fraction(k, "defense.scales", high=8, above=True) for k in scales]
        if not self.scales or any(
            low >= high for low, high in zip(self.scales, self.scales[1:], strict=False)
        ):
            raise NumberError(
                f"defense.scales={list(scales)} must increase; expected such as [1/4, 1/2, 1, 2]"
            )

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Purify images (N, C, H, W) whose smallest scale has at least 2 pixels a side.

        Raises:
            ValueError: the image is smaller.
        """
        levels = [resample(x, size) for size in self._sizes(x)]
        for step in range(self.steps):
            draws = fold_in(seeds, step)
            levels = [
                self._denoise(level, fold_in(draws, scale)) for scale, level in enumerate(levels)
            ]
            levels = _aggregate(levels)
        back = [resample(level, x.shape[2:]) for level in levels]
        return torch.stack(back).mean(0).clamp(0, 1)

    def _sizes(self, x: Tensor) -> list[tuple[int, int]]:
        """Return height and width at each scale, rounded half up."""
        sizes = [
            (math.floor(x.shape[2] * k + 0.5), math.floor(x.shape[3] * k + 0.5))
            for k in self.scales
        ]
        if min(sizes[0]) < SMALLEST:
            need = math.ceil((SMALLEST - 0.5) / self.scales[0])
            raise ValueError(
                f"images of {x.shape[2]}x{x.shape[3]} pixels are too small for the pyramid "
                f"defense.scales={self.scales}: its smallest scale has {sizes[0][0]}x{sizes[0][1]}"
                f"; expected at least {need}x{need} pixels, or leave out the smallest scales"
            )
        return sizes

    def _denoise(self, level: Tensor, seeds: Tensor) -> Tensor:
        """Apply diffusion, denoising and projection to one scale (Eq. 9)."""
        noise = normal(seeds, level.shape[1:]).to(level.dtype)
        noisy = torch.add(level, noise, alpha=math.sqrt(self.sigma2 / self.steps))
        return rof(noisy, self.gamma, self.iterations).clamp(0, 1)


class StraightThroughMDDA(StraightThroughPurifier, MDDA):
    """MDDA with the identity as the adaptive attacker's derivative (BPDA).

    It is cheaper than the exact gradient and much weaker, for a comparison with BPDA.
    """


def resample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resample images (N, C, H, W) to another size: T of Eq. 6 and its reverse (Eq. 7)."""
    height, width = size
    if (height, width) == tuple(x.shape[2:]):
        return x
    if height * width < x.shape[2] * x.shape[3]:
        return F.interpolate(x, (height, width), mode="nearest-exact")
    return F.interpolate(x, (height, width), mode="bicubic", align_corners=False)


def _aggregate(levels: Sequence[Tensor]) -> list[Tensor]:
    """Average each scale with its one-hop neighbours, resampled to it (Eq. 15, normalised)."""
    mixed = []
    for at, level in enumerate(levels):
        neighbours = [*levels[max(0, at - 1) : at], *levels[at + 1 : at + 2]]
        total = level
        for neighbour in neighbours:
            total = total + resample(neighbour, level.shape[2:])
        mixed.append(total / (1 + len(neighbours)))
    return mixed
