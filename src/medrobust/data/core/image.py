"""Decoding of files and arrays to uint8 tensors of one size and channel count."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from medrobust.data.core.error import DataError
from medrobust.data.core.manifest import Entry
from medrobust.fingerprint import digest, file_digest

_DEEP_MODES = ("I", "F")  # PIL's names for 16- and 32-bit pixels begin with these
_DEEP_STORED = re.compile(r"\w+;(?:16|32)\w*")  # likewise its names of the storage formats
_ORIENTATION = 0x0112  # EXIF tag
_MASK_THRESHOLD = 128  # for JPEG masks, whose 0 and 255 are blurred by compression
_SMEARED = "JPEG"


class Reader(Protocol):
    """Turns an entry into its image and label, and its bytes into a digest."""

    def __call__(self, entry: Entry) -> tuple[Tensor, Tensor]:
        """Return the image, uint8 (C, H, W), and its label int64 () or mask uint8 (H, W)."""

    def sha256(self, entry: Entry) -> str:
        """Return the digest of the sample's bytes."""


def to_tensor(image: Image.Image, size: int | None, channels: int, native: int) -> Tensor:
    """Resize a whole image to a square and set its channels.

    Args:
        image: 8-bit image of any PIL mode.
        size: side in pixels (bilinear, anti-aliased, aspect ratio not kept); None keeps the size.
        channels: channels of the output, 1 or 3. Colour to grey by ITU-R 601, grey to colour by
            copy.
        native: channels of the dataset, 1 or 3; files are converted to them first.

    Returns:
        uint8 (channels, H, W).
    """
    image = image.convert("L" if min(channels, native) == 1 else "RGB")
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    if pixels.ndim == 2:
        return pixels.expand(channels, -1, -1).contiguous()
    return pixels.permute(2, 0, 1).contiguous()


def open_image(path: Path) -> Image.Image:
    """Decode an 8-bit image file fully.

    Raises:
        DataError: not an image, truncated, or more than 8 bits per channel.
    """
    image = decoded(path)
    return image.convert("RGB") if image.mode in ("P", "RGBA", "CMYK", "PA") else image


def decoded(path: Path) -> Image.Image:
    """Decode an image file as stored, with its format."""
    try:
        with Image.open(path) as image:
            stored = next((str(tile[3]) for tile in image.tile), "")
            image.load()
    except FileNotFoundError as error:
        raise DataError(f"{path}: listed when the dataset was read, but gone now") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error}; make the image smaller") from error
    except Exception as error:  # Pillow raises almost anything on damage
        raise DataError(f"{path}: cannot be decoded ({error}); fetch this file again") from error
    # PIL reduces 16-bit colour to its high byte; only the storage format shows it.
    deep = _DEEP_STORED.search(stored)
    if image.mode.startswith(_DEEP_MODES) or deep:
        mode = deep[0] if deep else image.mode
        raise DataError(f"{path}: pixel mode {mode}, expected 8 bits per channel")
    return image


def check_upright(image: Image.Image, path: Path) -> None:
    """Check that no EXIF orientation rotates an image that has a mask or boxes.

    Args:
        image: decoded image.
        path: file of the image, for errors.

    Raises:
        DataError: the EXIF orientation rotates the image, so its annotation is ambiguous.
    """
    turned = image.getexif().get(_ORIENTATION, 1)
    if turned != 1:
        raise DataError(
            f"{path}: EXIF orientation {turned} rotates the image, but not its "
            "annotation; rotate its pixels to match the annotation, and remove the tag"
        )


def classes_of(mask: Image.Image, path: Path, classes: int) -> Image.Image:
    """Return the class index of each pixel of a mask, at its own size.

    In a JPEG, whose values are blurred by compression, values of at least 128 are class 1. A
    lossless file must hold class indices, or 0 and 255 for classes 0 and 1. A palette file holds
    class indices, unless there are two classes and its colours are black and white.

    Args:
        mask: mask as stored.
        path: file of the mask, for errors.
        classes: number of classes K.

    Returns:
        8-bit grey image of values 0 to K - 1.

    Raises:
        DataError: a value is no class, or a pixel is transparent.
    """
    if mask.has_transparency_data and np.array(mask.convert("RGBA"))[..., 3].min() < 255:
        raise DataError(
            f"{path}: some pixels of the mask are transparent, expected opaque ones; write it "
            "again without an alpha channel"
        )
    shown = np.array(mask.convert("L"), dtype=np.uint8)
    plain = set(np.unique(shown)) <= {0, 255}
    if mask.format == _SMEARED or (plain and (mask.mode != "P" or classes == 2)):
        return Image.fromarray((shown >= _MASK_THRESHOLD).astype(np.uint8))
    grey = np.array(mask, dtype=np.uint8) if mask.mode == "P" else shown
    odd = np.unique(grey[grey >= classes]).tolist()
    if odd:
        raise DataError(
            f"{path}: mask values {odd[:8]} are no classes; expected 0 and 255, or indices 0 to "
            f"{classes - 1}: write the mask again as one of them"
        )
    return Image.fromarray(grey)


@dataclass(frozen=True)
class FileReader:
    """Reads one image file per sample, and a mask file if the entry has one.

    Attributes:
        size: side of the square in pixels.
        channels: 1 or 3 to give.
        native: 1 or 3 of the dataset.
        classes: number of classes K of masks.
    """

    size: int
    channels: int
    native: int
    classes: int = 2

    def __call__(self, entry: Entry) -> tuple[Tensor, Tensor]:
        """Return the image, uint8 (C, size, size), and its label or mask.

        The label is int64 (), the mask uint8 (size, size) with classes 0 to K - 1.

        Raises:
            DataError: a file cannot be decoded, or a mask has another size than its image, or
                values that are no classes.
        """
        source = open_image(entry.files[0])
        image = to_tensor(source, self.size, self.channels, self.native)
        if entry.label is not None:
            return image, torch.tensor(entry.label)
        mask = decoded(entry.files[1])
        for one, path in zip((source, mask), entry.files, strict=True):
            check_upright(one, path)
        if mask.size != source.size:
            raise DataError(
                f"{entry.files[1]}: mask of {mask.size[0]}x{mask.size[1]} pixels, "
                f"but its image {entry.files[0]} has {source.size[0]}x{source.size[1]}"
            )
        mask = classes_of(mask, entry.files[1], self.classes)
        mask = mask.resize((self.size, self.size), Image.Resampling.NEAREST)
        return image, torch.from_numpy(np.array(mask, dtype=np.uint8))

    def sha256(self, entry: Entry) -> str:
        """Return the digest of the file, or of the digests of image and mask."""
        parts = [file_digest(path) for path in entry.files]
        return parts[0] if len(parts) == 1 else digest(parts)


@dataclass(frozen=True)
class ArrayReader:
    """Reads samples from arrays in memory.

    Attributes:
        arrays: images of each split, uint8 (N, H, W) or (N, H, W, 3).
        size: side of the square in pixels; None keeps that of the arrays.
        channels: 1 or 3 to give.
        native: channels of the arrays, 1 or 3.
    """

    arrays: Mapping[str, NDArray[np.uint8]]
    size: int | None
    channels: int
    native: int

    def _pixels(self, entry: Entry) -> NDArray[np.uint8]:
        return self.arrays[str(entry.split)][entry.index]

    def __call__(self, entry: Entry) -> tuple[Tensor, Tensor]:
        """Return the image, uint8 (C, H, W), and its label, int64 ()."""
        image = Image.fromarray(self._pixels(entry))
        return to_tensor(image, self.size, self.channels, self.native), torch.tensor(entry.label)

    def sha256(self, entry: Entry) -> str:
        """Return the digest of the sample's pixels and shape."""
        pixels = self._pixels(entry)
        return digest([list(pixels.shape), pixels.tobytes().hex()])
