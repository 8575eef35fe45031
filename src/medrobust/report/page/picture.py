"""Embed the image strips of a cell in the page."""

import base64
from dataclasses import dataclass
from pathlib import Path

from medrobust.result.picture import PictureError, read_picture


@dataclass(frozen=True)
class Strips:
    """A sheet of strips.

    Attributes:
        uri: the PNG as a data URI.
        width: width in pixels.
        height: height in pixels.
        samples: sample ids, top to bottom.
    """

    uri: str
    width: int
    height: int
    samples: tuple[str, ...]


def strips(path: Path) -> Strips | None:
    """Return the sheet next to a row, or None if it is absent or damaged (which is reported)."""
    try:
        found = read_picture(path)
    except PictureError:
        return None
    if found is None:
        return None
    height, width = found.pixels.shape[:2]
    uri = f"data:image/png;base64,{base64.b64encode(found.png).decode()}"
    return Strips(uri, width, height, found.samples)
