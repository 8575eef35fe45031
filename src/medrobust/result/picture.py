"""Picture next to a row: strips of some of its images, from `evaluation.record.pictures`."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medrobust.result.arrays import MEND
from medrobust.result.sealed import read_sealed, write_sealed

LARGEST = 2**24
"""Largest number of pixels of a picture that is read; a sheet has about a hundredth of it."""

_END = b"\0\0\0\0IEND\xae\x42\x60\x82"


class PictureError(ValueError):
    """Raised when a picture cannot be read."""


@dataclass(frozen=True)
class Picture:
    """A sheet of strips.

    Attributes:
        png: content of the PNG file.
        pixels: pixels, uint8 (H, W, 3).
        samples: sample ids, top to bottom.
    """

    png: bytes
    pixels: NDArray[np.uint8]
    samples: tuple[str, ...]


def write_picture(path: Path, png: bytes) -> None:
    """Write a sheet, followed by a checksum that PNG readers ignore."""
    write_sealed(path, png)


def read_picture(path: Path) -> Picture | None:
    """Return the picture, or None if the file does not exist.

    Raises:
        PictureError: the file is damaged, not a PNG, or has more pixels than `LARGEST`.
    """
    from PIL import Image

    try:
        data, checked = read_sealed(path)
        if not checked and not data.endswith(_END):
            raise ValueError("it does not end as a PNG does")
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            width, height = image.size
            if width * height > LARGEST:
                raise ValueError(f"{width} x {height} pixels, expected at most {LARGEST}")
            image.verify()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGB"))
            samples = tuple(str(image.info.get("Description", "")).split("\n"))
        if len(samples) > height:
            raise ValueError(f"{len(samples)} samples in {height} lines of pixels")
    except FileNotFoundError:
        return None
    except Exception as error:  # Pillow raises almost anything on damage
        raise PictureError(f"{path} is damaged ({error}); {MEND}") from None
    return Picture(data, pixels, samples)
