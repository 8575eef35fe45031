"""Chest X-ray phantoms: lungs, ribs, heart, and opacities that are faint textures."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from medrobust.data.phantom.canvas import (
    Array,
    Generator,
    column,
    grid,
    inside,
    smooth_noise,
    uniform,
)

_FAINTEST, _STRONGEST = 0.5, 1.6  # strength of an opacity; the faint ones are missed
_MOTTLE: Final = 0.06


def draw_chest(rng: Generator, labels: NDArray[np.int64], px: int) -> Array:
    """Draw grey chests (n, px, px); labels: 0 clear, 1 patch in one lung, 2 haze at both rims.

    Both opacities are lighter and mottled; their strength varies from barely visible to plain.
    """
    n = len(labels)
    rows, columns = grid(px)
    tall, wide = uniform(rng, n, 0.60, 0.72), uniform(rng, n, 0.27, 0.34)
    centre, shift = uniform(rng, n, -0.05, 0.05), uniform(rng, n, -0.06, 0.06)
    gap = uniform(rng, n, 0.38, 0.44)
    lungs, rims = [], []
    for side in (-1, 1):
        dy, dx = (rows - centre) / tall, (columns - shift - side * gap) / wide
        bulge = 1 + 0.12 * side * dx * dy + 0.15 * dy
        radius = np.sqrt(dy**2 + (dx / bulge) ** 2)
        lungs.append(inside(radius - 1, 0.06))
        rims.append(np.exp(-(((radius - 0.8) / 0.25) ** 2)))
    lung = np.maximum(*lungs)

    pitch = uniform(rng, n, 5.0, 6.5)
    ribs = np.sin(2 * np.pi * (pitch * (rows + 0.35 * columns**2) / 2) + uniform(rng, n, 0, 6.28))
    heart = inside(((rows - 0.25) / 0.42) ** 2 + ((columns - shift - 0.12) / 0.30) ** 2 - 1, 0.2)
    body = 0.62 + 0.04 * smooth_noise(rng, n, px, 3) + uniform(rng, n, -0.05, 0.05)
    image = body - 0.36 * lung * (1 - 0.6 * heart) + 0.025 * ribs
    image = image + 0.012 * smooth_noise(rng, n, px, 9) * lung  # vessels of a healthy lung

    sick = uniform(rng, n, _FAINTEST, _STRONGEST)
    where = (rng.uniform(0, 1, n) < 0.5).astype(np.int64)
    one = np.where(column(where) > 0, lungs[1], lungs[0])
    py, pxc = uniform(rng, n, -0.3, 0.45) + centre, column(2 * where - 1) * gap + shift
    patch = one * np.exp(-(((rows - py) / 0.34) ** 2) - ((columns - pxc) / 0.30) ** 2)
    haze = np.maximum(rims[0] * lungs[0], rims[1] * lungs[1])
    mottle = smooth_noise(rng, n, px, 13)
    image = image + column(labels == 1) * sick * patch * (0.10 + _MOTTLE * mottle)
    image = image + column(labels == 2) * sick * haze * (0.09 + _MOTTLE * mottle)
    return np.asarray(
        image + 0.012 * rng.standard_normal((n, px, px), dtype=np.float32), dtype=np.float32
    )
