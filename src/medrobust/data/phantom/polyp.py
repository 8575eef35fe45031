"""Colonoscopy phantoms: folded mucosa with highlights, and a polyp with its mask."""

import numpy as np
from numpy.typing import NDArray

from medrobust.data.phantom.canvas import (
    Array,
    Generator,
    dots,
    grid,
    inside,
    smooth_noise,
    uniform,
)


def draw_mucosa(rng: Generator, n: int, px: int) -> Array:
    """Draw folded mucosa, brighter in the middle: (n, px, px), grey in [0, 1]."""
    rows, columns = grid(px)
    rings = np.sqrt((rows - uniform(rng, n, -1, 1)) ** 2 + (columns - uniform(rng, n, -1, 1)) ** 2)
    folds = np.sin(2 * np.pi * uniform(rng, n, 1.2, 2.0) * rings)
    value = 0.60 + 0.05 * folds + 0.05 * smooth_noise(rng, n, px, 3)
    value = value - 0.14 * (rows**2 + columns**2)
    return value + 0.02 * smooth_noise(rng, n, px, 8)


def draw_polyp(rng: Generator, n: int, px: int) -> tuple[Array, NDArray[np.bool_]]:
    """Draw images (n, px, px, 3) in [0, 1] and polyp masks (n, px, px).

    A polyp differs from the mucosa by a slight shade, a faint dark outline and a finer surface.
    """
    rows, columns = grid(px)
    cy, cx = uniform(rng, n, -0.45, 0.45), uniform(rng, n, -0.45, 0.45)
    angle, stretch = uniform(rng, n, 0, np.pi), uniform(rng, n, 0.8, 1.25)
    u = np.cos(angle) * (columns - cx) + np.sin(angle) * (rows - cy)
    v = np.cos(angle) * (rows - cy) - np.sin(angle) * (columns - cx)
    radius = np.sqrt((u / stretch) ** 2 + (v * stretch) ** 2)
    theta = np.arctan2(v, u)
    wobble = sum(np.cos(k * theta + uniform(rng, n, 0, 2 * np.pi)) / k for k in (2, 3, 4))
    edge = radius - uniform(rng, n, 0.24, 0.45) * (1 + 0.12 * wobble)
    body = inside(edge, 0.02)

    value = draw_mucosa(rng, n, px)
    shade = uniform(rng, n, 0.04, 0.09)
    value = value + body * (shade - 0.04 * radius + 0.04 * smooth_noise(rng, n, px, 15))
    value = value - 0.05 * np.exp(-((edge / 0.035) ** 2))

    k = 7
    ys, xs = (rng.uniform(-0.9, 0.9, (n, k)).astype(np.float32) for _ in range(2))
    sigma = rng.uniform(0.012, 0.04, (n, k)).astype(np.float32)
    shine = np.minimum(dots(px, ys, xs, sigma, np.full((n, k), 0.6, dtype=np.float32)), 0.6)
    tint = 0.03 * body * uniform(rng, n, 0.3, 1)
    image = np.stack([value + 0.15 + tint, 0.62 * value - tint, 0.52 * value], axis=-1)
    image = image + shine[..., None] + 0.008 * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(image, dtype=np.float32), edge < 0
