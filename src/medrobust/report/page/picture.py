"""Strips of a cell, put into the page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image


@dataclass(frozen=True)
class Strips:
    """A sheet of strips.

    Attributes:
        uri: the PNG as a data URI.
        width: pixels.
        height: pixels.
        samples: ids, top to bottom.
    """

    uri: str
    width: int
    height: int
    samples: tuple[str, ...]


def strips(path: Path) -> Strips | None:
    """The sheet that lies beside a row, or None when there is none that can be read."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.verify()
            (width, height), text = image.size, image.info.get("Description", "")
    except (OSError, SyntaxError):  # what Pillow raises on damage
        return None
    uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return Strips(uri, width, height, tuple(str(text).split("\n")))
