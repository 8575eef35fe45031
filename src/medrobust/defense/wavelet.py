"""Wavelet denoising."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.defense.core.base import Derivative, Purifier, unchanged
from medrobust.number import fraction, whole

# Luma and two colour differences from red, green, blue in [0, 1] (ITU-R BT.601, studio range).
_YCBCR = (
    (65.481 / 255, 128.553 / 255, 24.966 / 255),
    (-37.797 / 255, -74.203 / 255, 112.0 / 255),
    (112.0 / 255, -93.786 / 255, -18.214 / 255),
)


Rule = Callable[[Tensor, Tensor], Tensor]


class Wavelet(Purifier):
    """Soft-thresholds Haar coefficients by BayesShrink, in YCbCr (Chang, Yu, Vetterli 2000).

    The threshold of a sub-band with mean square `v` is σ² / sqrt(v - σ²), high if few coefficients
    exceed the noise. Mustafa et al. 2019 apply it before super-resolution.

    Args:
        sigma: standard deviation of the noise to remove, in [0, 1] units of red, green and blue.
        levels: levels of the transform; null for three fewer than the image has, at least one.
    """

    def __init__(self, sigma: float | str = 0.04, levels: int | None = None) -> None:
        super().__init__()
        self.sigma = fraction(sigma, "defense.sigma", above=True)
        self.levels = None if levels is None else whole(levels, "defense.levels", low=1)

    def derivatives(self) -> dict[str, Derivative]:
        """Return `exact`, `smooth`, whose threshold is `smooth_threshold`, and `identity`."""
        return {"exact": self.purify, "smooth": self.smoothed, "identity": unchanged}

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Denoise images (N, 1 or 3, H, W) with sides of at least two pixels."""
        return self._denoised(x, soft_threshold)

    def smoothed(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Denoise with a threshold that passes some of every coefficient's derivative."""
        return self._denoised(x, smooth_threshold)

    def _denoised(self, x: Tensor, rule: Rule) -> Tensor:
        if x.shape[1] not in (1, 3) or min(x.shape[2:]) < 2:
            raise ValueError(
                f"wavelet denoising got images of shape {tuple(x.shape)}, expected 1 or 3 channels "
                f"and sides of at least 2 pixels"
            )
        most = int(math.log2(min(x.shape[2:])))
        levels = max(most - 3, 1) if self.levels is None else self.levels
        if levels > most:
            raise ValueError(
                f"defense.levels={levels} does not fit images of {tuple(x.shape[2:])} pixels; "
                f"expected at most {most}"
            )
        if x.shape[1] == 1:
            return shrink(x, x.new_tensor([self.sigma]), levels, rule).clamp(0, 1)
        mix = torch.tensor(_YCBCR, dtype=torch.float64)
        sigma = self.sigma * mix.norm(dim=1)  # for independent noise in red, green and blue
        found = shrink(_recolour(x, mix), sigma.to(x), levels, rule)
        return _recolour(found, torch.linalg.inv(mix)).clamp(0, 1)


def shrink(x: Tensor, sigma: Tensor, levels: int, rule: Rule) -> Tensor:
    """Denoise each channel.

    Args:
        x: images (N, C, H, W), any range.
        sigma: noise of each channel (C,), in units of `x`.
        levels: levels of the transform, at least 1.
        rule: threshold of the coefficients.
    """
    height, width = x.shape[2:]
    if levels == 0:
        return x
    coefficients = haar(F.pad(x, (0, width % 2, 0, height % 2), mode="replicate"))
    smooth = shrink(coefficients[:, :, 0], sigma, levels - 1, rule)
    detail = coefficients[:, :, 1:]
    variance = sigma.square().view(1, -1, 1, 1, 1)
    signal = detail.square().mean(dim=(3, 4), keepdim=True) - variance
    threshold = variance / signal.clamp(min=torch.finfo(x.dtype).eps).sqrt()
    shrunk = torch.cat([smooth.unsqueeze(2), rule(detail, threshold)], dim=2)
    return inverse_haar(shrunk)[:, :, :height, :width]


def soft_threshold(detail: Tensor, threshold: Tensor) -> Tensor:
    """Bring coefficients closer to zero by `threshold` > 0, the nearer ones to zero."""
    return detail.sign() * F.relu(detail.abs() - threshold)


def smooth_threshold(detail: Tensor, threshold: Tensor) -> Tensor:
    """Approximate `soft_threshold` by the difference of two softplus of width `threshold` / 2.

    With the sigmoid s and u = 2 d / t its derivative is s(u - 2) + s(-u - 2): 0.24 at zero, 1/2 at
    the threshold and 1 far above.
    """
    u = 2 * detail / threshold
    return (F.softplus(u - 2) - F.softplus(-u - 2)) * threshold / 2


def haar(x: Tensor) -> Tensor:
    """Compute one orthonormal Haar level, (N, C, 2h, 2w) -> (N, C, 4, h, w), smooth band first."""
    return _butterfly(F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4)))


def inverse_haar(coefficients: Tensor) -> Tensor:
    """Invert one Haar level, (N, C, 4, h, w) -> (N, C, 2h, 2w)."""
    return F.pixel_shuffle(_butterfly(coefficients).flatten(1, 2), 2)


def _butterfly(x: Tensor) -> Tensor:
    """Apply half the 4 × 4 Hadamard matrix, its own inverse, along dimension 2."""
    a, b, c, d = x.unbind(2)
    top, across, bottom, below = a + b, a - b, c + d, c - d
    return torch.stack((top + bottom, across + below, top - bottom, across - below), dim=2) / 2


def _recolour(x: Tensor, mix: Tensor) -> Tensor:
    """Mix channels (N, 3, H, W) by a matrix (3, 3), with sums that are the same in any batch."""
    red, green, blue = x.unbind(1)
    rows = [r * red + g * green + b * blue for r, g, b in mix.tolist()]
    return torch.stack(rows, dim=1)
