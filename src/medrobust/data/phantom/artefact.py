"""Endoscopy phantoms: mucosa with artefacts, each with its box."""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medrobust.data.phantom.canvas import Array, Generator, chunks, to_uint8
from medrobust.data.phantom.polyp import draw_mucosa

MOST: Final = 3  # artefacts per image
_TRIES: Final = 20
_STRENGTH: Final = (0.3, 0.7)  # opacity of an artefact: attacks can erase faint ones


class Drawn(NamedTuple):
    """One artefact of an image.

    Attributes:
        label: class index, in the order of `KINDS`.
        box: left, top, right and bottom in whole pixels.
    """

    label: int
    box: tuple[int, int, int, int]


def _specularity(rng: Generator, part: Array, u: Array, v: Array) -> Array:
    """Draw a few small white spots that touch all four sides."""
    spots = np.zeros_like(u)
    places = np.array([(-0.7, 0.1), (0.7, -0.1), (0.1, -0.7), (-0.1, 0.7), (0.0, 0.0)])
    for cy, cx in places + rng.uniform(-0.08, 0.08, places.shape):
        spots = np.maximum(spots, np.exp(-(((v - cy) ** 2 + (u - cx) ** 2) / 0.06)))
    return part + spots[..., None]


def _saturation(rng: Generator, part: Array, u: Array, v: Array) -> Array:
    """Draw one large, overexposed area."""
    glow = 1 / (1 + np.exp((np.sqrt(u**2 + v**2) - 0.85) / 0.06))
    return part + glow[..., None] * np.array([0.5, 0.75, 0.7])


def _artifact(rng: Generator, part: Array, u: Array, v: Array) -> Array:
    """Draw debris, a ragged, yellow-green patch."""
    theta = np.arctan2(v, u)
    edge = np.sqrt(u**2 + v**2) - 0.85 + 0.12 * np.cos(5 * theta + rng.uniform(0, 6.3))
    body = 1 / (1 + np.exp(edge / 0.05))
    return part * (1 - 0.85 * body[..., None]) + body[..., None] * np.array([0.42, 0.42, 0.08])


def _blur(rng: Generator, part: Array, u: Array, v: Array) -> Array:
    """Draw motion blur, horizontal streaks of light and dark."""
    streaks = 0.10 * np.sign(np.sin(v * np.pi * 3.5 + rng.uniform(0, 6.3)))
    inner = 1 / (1 + np.exp((np.maximum(abs(u), abs(v)) - 0.93) / 0.03))
    return part + (inner * streaks)[..., None]


def _contrast(rng: Generator, part: Array, u: Array, v: Array) -> Array:
    """Draw an area too dark to see anything."""
    dark = 1 / (1 + np.exp((np.maximum(abs(u), abs(v)) - 0.9) / 0.06))
    return part * (1 - 0.75 * dark[..., None])


def _bubbles(rng: Generator, part: Array, u: Array, v: Array) -> Array:
    """Draw five thin bright rings that touch all four sides."""
    rings = np.zeros_like(u)
    for cy, cx in ((-0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (0.5, -0.5), (0.0, 0.0)):
        radius = np.sqrt((v - cy) ** 2 + (u - cx) ** 2)
        rings = np.maximum(rings, np.exp(-(((radius - 0.42) / 0.09) ** 2)))
    return part + 0.35 * rings[..., None]


def _instrument(rng: Generator, part: Array, u: Array, v: Array) -> Array:
    """Draw a grey metal rod with a bright middle that fills its box."""
    rod = 0.35 + 0.3 * np.exp(-((u / 0.3) ** 2))
    return np.repeat(rod[..., None], 3, axis=2)


class _Kind(NamedTuple):
    """The drawing function of an artefact, and its sides as shares of the image's."""

    draw: Callable[[Generator, Array, Array, Array], Array]
    width: tuple[float, float]
    height: tuple[float, float]


KINDS: Final[dict[str, _Kind]] = {
    "specularity": _Kind(_specularity, (0.12, 0.22), (0.12, 0.22)),
    "saturation": _Kind(_saturation, (0.25, 0.45), (0.25, 0.45)),
    "artifact": _Kind(_artifact, (0.15, 0.35), (0.15, 0.35)),
    "blur": _Kind(_blur, (0.3, 0.5), (0.2, 0.35)),
    "contrast": _Kind(_contrast, (0.3, 0.5), (0.3, 0.5)),
    "bubbles": _Kind(_bubbles, (0.22, 0.35), (0.22, 0.35)),
    "instrument": _Kind(_instrument, (0.12, 0.2), (0.35, 0.6)),
}
"""Artefacts by class, in the challenge's order."""


def paint_artefacts(n: int, px: int, seed: int) -> tuple[NDArray[np.uint8], list[list[Drawn]]]:
    """Draw images with one to `MOST` artefacts that hardly overlap.

    Args:
        n: number of images.
        px: side in pixels.
        seed: seed of the drawing.

    Returns:
        8-bit images (n, px, px, 3), and the artefacts of each.
    """
    images, boxes = [], []
    for part, rng in chunks(n, px, seed):
        count = part.stop - part.start
        grey = draw_mucosa(rng, count, px)
        mucosa = np.stack([grey + 0.15, 0.62 * grey, 0.52 * grey], axis=-1)
        for image in mucosa:
            boxes.append(_place(rng, image, px))
        noise = 0.008 * rng.standard_normal(mucosa.shape, dtype=np.float32)
        images.append(to_uint8(mucosa + noise))
    return np.concatenate(images), boxes


def _place(rng: Generator, image: Array, px: int) -> list[Drawn]:
    """Draw artefacts into one image, in place."""
    found: list[Drawn] = []
    wanted = int(rng.integers(1, MOST + 1))
    for _ in range(_TRIES):
        if len(found) == wanted:
            break
        label = int(rng.integers(len(KINDS)))
        kind = list(KINDS.values())[label]
        width, height = (
            max(4, round(px * rng.uniform(*side))) for side in (kind.width, kind.height)
        )
        left, top = int(rng.integers(px - width + 1)), int(rng.integers(px - height + 1))
        box = (left, top, left + width, top + height)
        if any(_overlaps(box, other.box) for other in found):
            continue
        v, u = np.meshgrid(_axis(height), _axis(width), indexing="ij")
        area = image[top : top + height, left : left + width]
        area += rng.uniform(*_STRENGTH) * (np.clip(kind.draw(rng, area, u, v), 0, 1) - area)
        found.append(Drawn(label, box))
    return found


def _axis(side: int) -> Array:
    return (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1


def _overlaps(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
