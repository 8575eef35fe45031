"""Smoothing kernels, and the convolution of each channel of each image with one."""

import torch
from torch import Tensor
from torch.nn import functional as F


def gaussian_kernel(size: int, sigma: float) -> Tensor:
    """Values of a normal density on the pixel grid, cut off at `size` and summing to one.

    Args:
        size: height and width in pixels, odd and >= 1.
        sigma: standard deviation in pixels, > 0.

    Returns:
        float64 (size, size).

    Raises:
        ValueError: `size` is even or not positive, or `sigma` is not positive.
    """
    if not 0 < sigma < float("inf"):
        raise ValueError(f"sigma={sigma} of a Gaussian kernel; expected a number of pixels > 0")
    return _outer(torch.exp(-0.5 * (offsets(size) / sigma) ** 2))


def uniform_kernel(size: int) -> Tensor:
    """The mean over a square window: float64 (size, size); `size` odd."""
    return _outer(torch.ones_like(offsets(size)))


def linear_kernel(size: int) -> Tensor:
    """A product of two triangles that reach zero just outside: float64 (size, size); `size` odd."""
    return _outer(1 - offsets(size).abs() / (size // 2 + 1))


def offsets(size: int) -> Tensor:
    """Distances from the centre in pixels, float64 (size,).

    Raises:
        ValueError: `size` is even or not positive.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"kernel size {size}; expected an odd number >= 1, which has a centre")
    return torch.arange(size, dtype=torch.float64) - size // 2


def smooth(images: Tensor, kernel: Tensor) -> Tensor:
    """Convolve every channel of every image with one kernel; zeros outside the image.

    Separable kernels, as all of this file are, cost two passes along one axis each; others are
    split into as many such pairs as their rank. Every pass is a sum of shifted images, term by
    term: unlike a library convolution, it rounds an image the same way in any batch. Sums are
    kept in at least float32.

    Args:
        images: (N, C, H, W), floating point.
        kernel: (h, w), h and w odd; not flipped (a correlation).

    Returns:
        (N, C, H, W) like `images`.

    Raises:
        ValueError: the kernel is not two-dimensional with odd sides.
    """
    if kernel.ndim != 2 or not all(side % 2 for side in kernel.shape):
        raise ValueError(f"kernel of shape {tuple(kernel.shape)}; expected (h, w), both odd")
    exact = images.to(torch.promote_types(images.dtype, torch.float32))
    total = torch.zeros_like(exact)
    for column, row in _pairs(kernel):
        total += _along(_along(exact, column, 2), row, 3)
    return total.to(images.dtype)


def _outer(profile: Tensor) -> Tensor:
    profile = profile / profile.sum()
    return torch.outer(profile, profile)


def _pairs(kernel: Tensor) -> list[tuple[list[float], list[float]]]:
    """The kernel as a sum of outer products, as few as float64 allows."""
    u, s, v = torch.linalg.svd(kernel.detach().double().cpu(), full_matrices=False)
    rank = max(1, int((s > 1e-14 * len(s) * s[0]).sum()))
    root = s[:rank].sqrt()
    columns, rows = (u[:, :rank] * root).T, v[:rank] * root[:, None]
    return list(zip(columns.tolist(), rows.tolist(), strict=True))


def _along(images: Tensor, taps: list[float], dim: int) -> Tensor:
    """Correlate with `taps` along one axis."""
    reach, size = len(taps) // 2, images.shape[dim]
    pad = [reach, reach] if dim == 3 else [0, 0, reach, reach]
    padded = F.pad(images, pad)
    total = torch.zeros_like(images)
    for start, tap in enumerate(taps):
        total += padded.narrow(dim, start, size) * tap  # two roundings, alike in every pixel
    return total
