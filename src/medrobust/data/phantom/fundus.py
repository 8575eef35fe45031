"""Fundus phantoms: retina, optic disc, vessels, and the signs of diabetic retinopathy."""

from typing import Final

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

_VESSELS: Final = 8
_BEADS: Final = 48  # dots per vessel
_SPREAD: Final = 0.15  # standard deviation of severity around the grade; decides the class overlap
_MOST: Final = 42  # most lesions of one kind


def draw_fundus(rng: Generator, labels: NDArray[np.int64], px: int) -> Array:
    """Draw images (n, px, px, 3) of eyes with grades 0 to 4.

    Severity is the grade with some scatter. It adds dark microaneurysms and haemorrhages, bright
    exudates from moderate on, and a faint network of new vessels at the highest grades.
    """
    n = len(labels)
    severity = np.clip(labels + _SPREAD * rng.standard_normal(n), -0.4, 4.4)
    rows, columns = grid(px)
    radius = np.sqrt(rows**2 + columns**2)[None]
    eye = inside(radius - 0.95, 0.02)

    side = np.sign(rng.uniform(-1, 1, n))
    disc_y, disc_x = rng.uniform(-0.12, 0.12, n), side * rng.uniform(0.45, 0.55, n)
    ones = np.ones((n, 1), dtype=np.float32)
    disc = dots(px, _f(disc_y[:, None]), _f(disc_x[:, None]), 0.11 * ones, 0.30 * ones)
    fovea = dots(px, _f(disc_y[:, None]), _f(disc_x[:, None] * -0.1), 0.16 * ones, 0.10 * ones)
    vessels = _vessels(rng, px, disc_y, disc_x, side)

    red_spots = _lesions(rng, px, 5 + 7.5 * severity, 0.024, 0.035)
    exudates = _lesions(rng, px, np.clip(10 * (severity - 1.2), 0, None), 0.022, 0.03)
    fresh = np.clip(severity - 2.6, 0, None).astype(np.float32)[:, None, None]
    phase = 2 * np.pi * uniform(rng, n, 4.0, 5.0)
    weave = np.cos(phase * (rows + columns * 0.3)) * np.cos(phase * (columns - rows * 0.3))

    value = 0.52 + 0.05 * smooth_noise(rng, n, px, 3) - 0.12 * radius
    value = value + disc - fovea - 0.13 * np.minimum(vessels, 1.2)
    value = value - 0.12 * red_spots + 0.03 * fresh * weave
    tone = uniform(rng, n, -0.04, 0.04)
    red = value + 0.22 + tone
    green = 0.62 * value + 0.13 * exudates
    blue = 0.30 * value + 0.05 * exudates
    image = np.stack([red, green, blue], axis=-1) * eye[..., None]
    noise = 0.008 * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(image + noise, dtype=np.float32)


def _f(values: NDArray[np.float64]) -> Array:
    return values.astype(np.float32)


def _vessels(
    rng: Generator,
    px: int,
    disc_y: NDArray[np.float64],
    disc_x: NDArray[np.float64],
    side: NDArray[np.float64],
) -> Array:
    """Draw vessels that leave the disc up and down and bend around the macula."""
    n = len(disc_y)
    along = np.linspace(0, 1, _BEADS)[None, None]
    up = np.where(np.arange(_VESSELS) % 2, 1.0, -1.0)[None, :, None]
    rise = rng.uniform(0.35, 1.1, (n, _VESSELS, 1))
    reach = rng.uniform(-0.5, 1.5, (n, _VESSELS, 1))
    ys = disc_y[:, None, None] + up * rise * np.sin(along * np.pi * 0.6)
    xs = disc_x[:, None, None] - side[:, None, None] * reach * along**1.5
    ys = ys + 0.03 * np.sin(along * rng.uniform(8, 20, (n, _VESSELS, 1)))
    width = rng.uniform(0.012, 0.03, (n, _VESSELS, 1)) * (1.2 - along) + 0.35 / px
    height = 0.6 * np.ones_like(width)
    flat = [_f(a.reshape(n, -1)) for a in np.broadcast_arrays(ys, xs, width, height)]
    return dots(px, *flat)


def _lesions(
    rng: Generator, px: int, expected: NDArray[np.float64], small: float, large: float
) -> Array:
    """Draw about `expected` (n,) dots of unit height, anywhere in the eye."""
    n = len(expected)
    count = np.clip(np.round(expected + rng.normal(0, 0.7, n)), 0, _MOST)
    angle, far = rng.uniform(0, 2 * np.pi, (n, _MOST)), np.sqrt(rng.uniform(0, 0.6, (n, _MOST)))
    there = (np.arange(_MOST)[None] < count[:, None]).astype(np.float32)
    sigma = rng.uniform(small, large, (n, _MOST)) + 0.25 / px
    return dots(px, _f(far * np.sin(angle)), _f(far * np.cos(angle)), _f(sigma), there)
