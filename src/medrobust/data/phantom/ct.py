"""Phantoms of axial chest CT slices, with masks of the lungs and of ground-glass infection."""

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


def draw_infected(rng: Generator, n: int, px: int) -> tuple[Array, NDArray[np.bool_]]:
    """Draw grey images (n, px, px) in [0, 1] and masks of the infection."""
    image, _, infection = _draw(rng, n, px)
    return image, infection


def draw_lungs(rng: Generator, n: int, px: int) -> tuple[Array, NDArray[np.bool_]]:
    """Draw grey images (n, px, px) in [0, 1] and masks of the lungs."""
    image, lungs, _ = _draw(rng, n, px)
    return image, lungs


def _draw(rng: Generator, n: int, px: int) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    rows, columns = grid(px)
    body = np.sqrt((rows / uniform(rng, n, 0.66, 0.76)) ** 2 + (columns / 0.92) ** 2)
    edges = []
    for side in (-1, 1):
        y = (rows - uniform(rng, n, -0.06, 0.06)) / uniform(rng, n, 0.42, 0.50)
        x = side * (columns - side * uniform(rng, n, 0.40, 0.46)) / uniform(rng, n, 0.32, 0.38)
        # Wider at the back, hollow towards the heart.
        edges.append(np.sqrt(y**2 + x**2) - 1 - 0.12 * y + 0.15 * np.exp(-4 * (x + 1) ** 2))
    edge = np.minimum(*edges) + 0.03 * smooth_noise(rng, n, px, 6)
    lung = inside(edge, 0.03)
    tissue = inside(body - 1, 0.02) * (0.62 + 0.02 * smooth_noise(rng, n, px, 5))

    k = 40
    ys = rng.uniform(-0.45, 0.45, (n, k)).astype(np.float32)
    xs = (rng.choice([-1, 1], (n, k)) * rng.uniform(0.15, 0.7, (n, k))).astype(np.float32)
    sigma = rng.uniform(0.008, 0.022, (n, k)).astype(np.float32)
    vessels = dots(px, ys, xs, sigma, np.full((n, k), 0.22, dtype=np.float32))

    # Infection: a ragged patch in one lung, and more where a smooth field is high near the edge.
    py = uniform(rng, n, -0.2, 0.25)
    pxc = uniform(rng, n, 0.36, 0.56) * np.sign(uniform(rng, n, -1, 1))
    patch = np.exp(-(((rows - py) / 0.20) ** 2) - ((columns - pxc) / 0.17) ** 2)
    field = 0.6 * smooth_noise(rng, n, px, 6) + 0.3 * np.exp(-((edge / 0.25) ** 2))
    field = np.where(edge < 0, field + 2.2 * patch, -np.inf)
    peak = field.max(axis=(1, 2), keepdims=True)  # keeps masks non-empty
    infection = field > np.minimum(uniform(rng, n, 0.75, 1.15), peak - 0.6)
    density = uniform(rng, n, 0.07, 0.16) + 0.035 * smooth_noise(rng, n, px, 14)
    inner = 0.16 + 0.015 * smooth_noise(rng, n, px, 9) + vessels + infection * density
    image = tissue * (1 - lung) + lung * inner
    noise = 0.015 * rng.standard_normal((n, px, px), dtype=np.float32)
    return np.asarray(image + noise, dtype=np.float32), edge < 0, infection
