"""Handwritten digit phantoms: pen strokes of dots, slanted, stretched and jittered."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from medrobust.data.phantom.canvas import Array, Generator, dots

_BEADS: Final = 36  # dots per digit
_CORNERS: Final[tuple[tuple[tuple[float, float], ...], ...]] = (
    ((-0.9, 0.0), (-0.4, 0.6), (0.4, 0.6), (0.9, 0.0), (0.4, -0.6), (-0.4, -0.6), (-0.9, 0.0)),
    ((-0.5, -0.4), (-0.9, 0.0), (0.9, 0.0)),
    ((-0.5, -0.5), (-0.9, 0.0), (-0.5, 0.5), (0.9, -0.6), (0.9, 0.6)),
    ((-0.9, -0.5), (-0.8, 0.4), (-0.1, 0.0), (0.4, 0.6), (0.9, 0.0), (0.7, -0.6)),
    ((0.9, 0.3), (-0.9, 0.3), (0.3, -0.6), (0.3, 0.7)),
    ((-0.9, 0.6), (-0.9, -0.5), (-0.1, -0.5), (0.1, 0.5), (0.7, 0.5), (0.9, -0.5)),
    ((-0.9, 0.3), (0.1, -0.6), (0.8, -0.3), (0.8, 0.4), (0.2, 0.5), (0.2, -0.5)),
    ((-0.9, -0.6), (-0.9, 0.6), (0.9, -0.2)),
    (
        (0.0, 0.0),
        (-0.5, 0.5),
        (-0.9, 0.0),
        (-0.5, -0.5),
        (0.5, 0.6),
        (0.9, 0.0),
        (0.5, -0.6),
        (0, 0),
    ),
    ((0.0, 0.5), (-0.1, -0.5), (-0.8, -0.4), (-0.8, 0.4), (0.0, 0.5), (0.9, 0.3)),
)
"""Row and column of each corner of the pen stroke, from -1 to 1, for the digits 0 to 9."""


def draw_digit(rng: Generator, labels: NDArray[np.int64], px: int) -> Array:
    """Draw images (n, px, px) of white digits on black.

    Slant, size, position, pen width and corners vary by image.
    """
    n = len(labels)
    path = _paths()[labels]
    path = path + 0.07 * rng.standard_normal((n, _BEADS, 2)).cumsum(1) / np.sqrt(_BEADS)
    scale = rng.uniform(0.5, 0.7, (n, 1, 2))
    place = rng.uniform(-0.1, 0.1, (n, 1, 2))
    slant = rng.uniform(-0.35, 0.25, (n, 1))
    ys = scale[..., 0] * path[..., 0] + place[..., 0]
    xs = scale[..., 1] * path[..., 1] + place[..., 1] + slant * ys
    pen = np.broadcast_to(rng.uniform(0.07, 0.11, (n, 1)), ys.shape)
    ink = np.broadcast_to(rng.uniform(0.8, 1.1, (n, 1)), ys.shape)
    flat = [np.asarray(part, dtype=np.float32) for part in (ys, xs, pen, ink)]
    return np.minimum(dots(px, *flat), 1.0)


def _paths() -> NDArray[np.float64]:
    """Return evenly spaced beads along each digit's stroke, (10, beads, 2)."""
    found = []
    for corners in _CORNERS:
        turns = np.array(corners)
        along = np.concatenate([[0.0], np.linalg.norm(np.diff(turns, axis=0), axis=1).cumsum()])
        even = np.linspace(0, along[-1], _BEADS)
        found.append(np.stack([np.interp(even, along, turns[:, axis]) for axis in (0, 1)], axis=1))
    return np.stack(found)
