"""Skin lesion phantoms, up to sixteen kinds that differ in faint shape, colour and texture."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from medrobust.data.phantom.canvas import (
    Array,
    Generator,
    column,
    dots,
    grid,
    inside,
    smooth_noise,
    uniform,
)

# Eight codewords, any two of which differ in four of the seven attributes; then their opposites.
_HADAMARD: Final = np.array([[(-1.0) ** bin(i & j).count("1") for j in range(8)] for i in range(8)])
_CODES: Final = np.concatenate([_HADAMARD[:, 1:], -_HADAMARD[:, 1:]])
_SPREAD: Final = 0.36  # standard deviation of an attribute within a class
MAX_CLASSES: Final = len(_CODES)


def draw_lesion(rng: Generator, labels: NDArray[np.int64], px: int) -> Array:
    """Draw images (n, px, px, 3) of lesions, one kind per label.

    There are seven attributes: hue, darkness, rim, network, globules, elongation and raggedness. A
    class fixes the sign of each, and a sample varies around it.

    Raises:
        ValueError: a label is above 15.
    """
    if labels.max() >= MAX_CLASSES:
        raise ValueError(f"label {labels.max()}: lesions come in {MAX_CLASSES} kinds")
    n = len(labels)
    attributes = _CODES[labels] + _SPREAD * rng.standard_normal((n, 7))
    hue, dark, rim, network, globule, long, ragged = (column(a) for a in attributes.T)
    rows, columns = grid(px)

    angle = uniform(rng, n, 0, np.pi)
    dy, dx = rows - uniform(rng, n, -0.15, 0.15), columns - uniform(rng, n, -0.15, 0.15)
    u = np.cos(angle) * dx + np.sin(angle) * dy
    v = np.cos(angle) * dy - np.sin(angle) * dx
    stretch = np.exp(0.17 * long)
    radius = np.sqrt((u / stretch) ** 2 + (v * stretch) ** 2)
    theta = np.arctan2(v, u)
    wobble = sum(
        np.cos(k * theta + uniform(rng, n, 0, 2 * np.pi)) * (0.5 + 0.35 * ragged) / k
        for k in (3, 5, 7)
    )
    edge = radius - uniform(rng, n, 0.42, 0.6) * (1 + 0.22 * wobble)
    body = inside(edge, 0.04)

    skin = 0.78 + 0.04 * smooth_noise(rng, n, px, 3) + 0.05 * (u * uniform(rng, n, -1, 1))
    depth = 0.20 + 0.036 * dark + 0.03 * smooth_noise(rng, n, px, 5)
    depth = depth + 0.032 * rim * np.exp(-(((edge + 0.08) / 0.06) ** 2))
    phase = 2 * np.pi * 4.5
    mesh = np.cos(phase * u) * np.cos(phase * v)
    depth = depth + (0.026 + 0.026 * network) * mesh
    k = 14
    spots = dots(
        px,
        rng.uniform(-0.5, 0.5, (n, k)).astype(np.float32),
        rng.uniform(-0.5, 0.5, (n, k)).astype(np.float32),
        np.full((n, k), 0.055, dtype=np.float32),
        np.ones((n, k), dtype=np.float32),
    )
    depth = depth + (0.045 + 0.045 * globule) * spots
    value = skin - body * depth
    tint = 0.024 * hue * body
    noise = 0.012 * rng.standard_normal((n, px, px, 3), dtype=np.float32)
    tone = uniform(rng, n, -0.03, 0.03)
    red, green, blue = value + 0.06 + tint, value * 0.82 - tint, value * 0.72 + tone - tint
    return np.asarray(np.stack([red, green, blue], axis=-1) + noise, dtype=np.float32)
