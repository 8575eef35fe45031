"""Batched drawing: coordinates, smooth noise, soft dots and strings of dots."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]  # float32, unless a Python float widened it
Generator = np.random.Generator
_CHUNK_PIXELS = 2**21


def chunks(n: int, px: int, seed: int) -> Iterator[tuple[slice, Generator]]:
    """Yield slices of n images that fit in memory together, each with its own generator."""
    step = max(1, min(n, _CHUNK_PIXELS // px**2))
    for number, start in enumerate(range(0, n, step)):
        yield slice(start, min(start + step, n)), np.random.default_rng([seed, 2, number])


def grid(px: int) -> tuple[Array, Array]:
    """Return row and column coordinates (px, 1) and (1, px), from -1 to 1."""
    axis = (np.arange(px, dtype=np.float32) + 0.5) / px * 2 - 1
    return axis[:, None], axis[None, :]


def smooth_noise(rng: Generator, n: int, px: int, cells: float) -> Array:
    """Draw Gaussian noise (n, px, px) of unit variance with about `cells` bumps along a side."""
    knots = int(np.ceil(cells)) + 4
    axis = np.arange(px, dtype=np.float32)[:, None] * (cells / px) + 1.5
    weights = np.exp(-0.5 * ((axis - np.arange(knots, dtype=np.float32)) / 0.6) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    values = rng.standard_normal((n, knots, knots), dtype=np.float32)
    return np.asarray(weights @ values @ weights.T, dtype=np.float32)


def column(values: Any) -> Array:
    """Reshape per-image values (n,) to (n, 1, 1), to broadcast with images."""
    return np.asarray(values, dtype=np.float32)[:, None, None]


def uniform(rng: Generator, n: int, low: float, high: float) -> Array:
    """Draw uniform per-image values (n, 1, 1)."""
    return column(rng.uniform(low, high, n))


def inside(distance: Array, softness: float) -> Array:
    """Return a soft indicator: 1 where `distance` is below 0, falling to 0 over `softness`."""
    return np.asarray(1 / (1 + np.exp(np.clip(distance / softness, -30, 30))), dtype=np.float32)


def dots(px: int, ys: Array, xs: Array, sigma: Array, height: Array) -> Array:
    """Draw a sum of Gaussian dots.

    Args:
        px: side in pixels.
        ys: row coordinates (n, k) in [-1, 1].
        xs: column coordinates (n, k).
        sigma: widths (n, k) in the same units.
        height: heights (n, k); 0 draws nothing.

    Returns:
        (n, px, px), where each dot is the outer product of two profiles.
    """
    rows, columns = grid(px)
    across = np.exp(-0.5 * ((rows.ravel() - ys[..., None]) / sigma[..., None]) ** 2)
    along = np.exp(-0.5 * ((columns.ravel() - xs[..., None]) / sigma[..., None]) ** 2)
    return np.asarray((across * height[..., None]).transpose(0, 2, 1) @ along, dtype=np.float32)


def to_uint8(image: Array) -> NDArray[np.uint8]:
    """Convert images in [0, 1] to 8 bits, clipped."""
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def paint(
    draw: Callable[[Generator, NDArray[np.int64], int], Array],
    labels: NDArray[np.int64],
    px: int,
    seed: int,
) -> NDArray[np.uint8]:
    """Draw images of the given classes, chunk by chunk.

    Args:
        draw: `(generator, labels, px) -> (n, px, px[, 3])` in [0, 1].
        labels: class of each image.
        px: side in pixels.
        seed: seed of the drawing.
    """
    parts = [to_uint8(draw(rng, labels[part], px)) for part, rng in chunks(len(labels), px, seed)]
    return np.concatenate(parts)


def paint_masked(
    draw: Callable[[Generator, int, int], tuple[Array, NDArray[np.bool_]]],
    n: int,
    px: int,
    seed: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw images with masks, chunk by chunk.

    Args:
        draw: `(generator, n, px) -> images (n, px, px[, 3]) in [0, 1], masks (n, px, px)`.
        n: number of images.
        px: side in pixels.
        seed: seed of the drawing.

    Returns:
        8-bit images, and masks of 0 and 255.
    """
    parts = [draw(rng, part.stop - part.start, px) for part, rng in chunks(n, px, seed)]
    images = np.concatenate([to_uint8(image) for image, _ in parts])
    masks = np.concatenate([mask.astype(np.uint8) * np.uint8(255) for _, mask in parts])
    return images, masks
