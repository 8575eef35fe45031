"""A differentiable JPEG: the codec's steps, with a smooth rounding of the coefficients.

Shin and Song 2017, "JPEG-resistant Adversarial Images": the rounding of a coefficient c is replaced
by r + (c - r)³, r the nearest whole number, whose derivative 3 (c - r)² is that of a staircase with
soft edges. The other steps are those of libjpeg: colour conversion (JFIF), replication of the edge
up to whole blocks, averaging of chroma, cosine transform, the standard tables (ITU-T T.81, Annex K)
at a quality, and linear interpolation of chroma.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.defense.core.rounding import smooth_round

_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *([99] * 32),
)
_TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


def smooth_jpeg(
    x: Tensor,
    quality: int,
    sampling: tuple[int, int],
    rounding: Callable[[Tensor], Tensor] = smooth_round,
) -> Tensor:
    """Compress and decompress images, differentiably.

    Args:
        x: images (N, 1 or 3, H, W) in [0, 1].
        quality: quality of libjpeg, 1 to 100.
        sampling: factors by which chroma is coarser than luma, vertically and horizontally.
        rounding: differentiable rounding of the coefficients.

    Returns:
        Images like `x`, in [0, 1].
    """
    height, width = x.shape[2:]
    luma, chroma = tables(quality)
    if x.shape[1] == 1:
        return _coded(x * 255, luma, rounding).clamp(0, 255) / 255
    planes = _mixed(x * 255, _TO_YCC)
    found = [_coded(planes[:, :1], luma, rounding).clamp(0, 255)]
    down, right = sampling
    colour = planes[:, 1:] + 128
    if sampling != (1, 1):
        edge = (0, -width % right, 0, -height % down)
        colour = F.avg_pool2d(F.pad(colour, edge, mode="replicate"), sampling)
    colour = _coded(colour, chroma, rounding).clamp(0, 255)
    if sampling != (1, 1):
        size = (colour.shape[2] * down, colour.shape[3] * right)
        colour = F.interpolate(colour, size, mode="bilinear", align_corners=False)
    found.append(colour[:, :, :height, :width] - 128)
    return _mixed(torch.cat(found, 1), _TO_RGB).clamp(0, 255) / 255


@lru_cache(maxsize=128)
def tables(quality: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the quantisation tables of luma and chroma at a quality, as libjpeg scales them.

    Args:
        quality: 1 to 100.
    """
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality

    def scaled(table: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(min(max((step * scale + 50) // 100, 1), 255) for step in table)

    return scaled(_LUMA), scaled(_CHROMA)


def _coded(plane: Tensor, table: tuple[int, ...], rounding: Callable[[Tensor], Tensor]) -> Tensor:
    """Quantise the coefficients of planes (N, C, H, W) in [0, 255]."""
    count, channels, height, width = plane.shape
    padded = F.pad(plane - 128, (0, -width % 8, 0, -height % 8), mode="replicate")
    down, right = padded.shape[2] // 8, padded.shape[3] // 8
    blocks = padded.view(count, channels, down, 8, right, 8).transpose(3, 4).reshape(-1, 64)
    transform = _transform(plane.dtype, plane.device)
    steps = torch.tensor(table, dtype=plane.dtype, device=plane.device)
    kept = rounding(blocks @ transform.T / steps) * steps
    back = (kept @ transform).view(count, channels, down, right, 8, 8).transpose(3, 4)
    return back.reshape(padded.shape)[:, :, :height, :width] + 128


@lru_cache(maxsize=8)
def _transform(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the orthonormal cosine transform of blocks of 8 × 8, (64, 64)."""
    place = torch.arange(8, dtype=torch.float64)
    basis = torch.cos((2 * place + 1) * place[:, None] * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return torch.kron(basis, basis).to(device, dtype)


def _mixed(x: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Apply a matrix to the channels of (N, 3, H, W)."""
    weights = torch.tensor(matrix, dtype=x.dtype, device=x.device)
    return F.conv2d(x, weights[:, :, None, None])
