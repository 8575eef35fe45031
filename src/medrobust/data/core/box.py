"""Boxes on disk and in memory: reading, scaling, and augmentation with their image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import clamp_bounding_boxes

from medrobust.data.core.error import DataError
from medrobust.data.core.image import check_upright, open_image, to_tensor
from medrobust.data.core.listing import read_text
from medrobust.data.core.manifest import Entry
from medrobust.fingerprint import digest, file_digest

SLACK: Final = 0.005
"""Share of the side by which a box may exceed its image, by rounding; it is clipped."""
SMALLEST_PX: Final = 1.0
"""Minimum side of a box after augmentation; smaller ones are dropped."""


class Box(NamedTuple):
    """One box, in shares of the image's sides.

    Attributes:
        label: class index.
        left: in [0, 1].
        top: in [0, 1].
        right: in [0, 1].
        bottom: in [0, 1].
    """

    label: int
    left: float
    top: float
    right: float
    bottom: float


def read_boxes(path: Path, classes: Sequence[str]) -> list[Box]:
    """Read the boxes of a text file of lines `class x_center y_center width height`.

    Args:
        path: the file; coordinates are shares of the image's sides, classes indices or names.
        classes: names in the order of their indices.

    Raises:
        DataError: the file is not text, or a line is malformed, of an unknown class, without area
            or outside the image; names the file and the line.
    """
    return [
        _parsed(line.split(), f"{path}, line {number}", classes)
        for number, line in enumerate(read_text(path).splitlines(), start=1)
        if line.strip()
    ]


def _parsed(words: list[str], where: str, classes: Sequence[str]) -> Box:
    if len(words) != 5:
        raise DataError(f"{where}: {words}, expected class, x_center, y_center, width and height")
    name = words[0]
    if name in classes:
        label = classes.index(name)
    elif name.isdigit() and int(name) < len(classes):
        label = int(name)
    else:
        raise DataError(
            f"{where}: class {name!r}, expected 0 to {len(classes) - 1} or one of {list(classes)}"
        )
    try:
        x, y, width, height = (float(word) for word in words[1:])
    except ValueError:
        raise DataError(f"{where}: {words[1:]}, expected four numbers") from None
    if not (width > 0 and height > 0):
        raise DataError(f"{where}: a box of width {width} and height {height}, expected > 0")
    sides = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    if not all(-SLACK <= side <= 1 + SLACK for side in sides):
        raise DataError(
            f"{where}: a box from ({sides[0]:.4g}, {sides[1]:.4g}) to ({sides[2]:.4g}, "
            f"{sides[3]:.4g}) in shares of the image's sides, expected it inside, 0 to 1"
        )
    return Box(label, *(min(max(side, 0.0), 1.0) for side in sides))


@dataclass(frozen=True)
class BoxReader:
    """Reads image files whose boxes are already known.

    Attributes:
        boxes: boxes of each entry, by its id.
        size: side of the square in pixels.
        channels: channels of the output, 1 or 3.
        native: channels of the dataset, 1 or 3.
    """

    boxes: Mapping[str, Sequence[Box]]
    size: int
    channels: int
    native: int

    @property
    def most(self) -> int:
        """Return the rows of every label: the most boxes of an image, at least one."""
        return max(1, *(len(boxes) for boxes in self.boxes.values()))

    def __call__(self, entry: Entry) -> tuple[Tensor, Tensor]:
        """Return the image, uint8 (C, size, size), and its boxes, float32 (most, 5).

        Raises:
            DataError: the image cannot be decoded, or its EXIF orientation rotates it.
        """
        source = open_image(entry.files[0])
        check_upright(source, entry.files[0])
        image = to_tensor(source, self.size, self.channels, self.native)
        return image, filled(
            [[box.label, *(side * self.size for side in box[1:])] for box in self.boxes[entry.id]],
            self.most,
        )

    def sha256(self, entry: Entry) -> str:
        """Return the digest of the digests of the image and of its box file."""
        return digest([file_digest(path) for path in entry.files])


def filled(rows: Sequence[Sequence[float]], most: int) -> Tensor:
    """Return boxes as float32 (most, 5), padded with class -1."""
    label = torch.zeros(most, 5)
    label[:, 0] = -1
    if rows:
        label[: len(rows)] = torch.tensor(rows, dtype=torch.float32)
    return label


def augmented_boxes(
    augment: Callable[..., Any], image: Tensor, label: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply a random transform to an image and its boxes.

    Args:
        augment: a transform of torchvision's v2, or one of the same signature.
        image: (C, H, W).
        label: (M, 5).

    Returns:
        The image, and boxes (M, 5), clipped to it.

    Raises:
        TypeError: the transform does not take boxes, or returns another number of them.
    """
    real = label[:, 0] >= 0
    boxes = tv_tensors.BoundingBoxes(  # type: ignore[call-arg]
        label[real, 1:], format="XYXY", canvas_size=tuple(image.shape[1:])
    )
    try:
        changed, moved = augment(tv_tensors.Image(image), boxes)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"data.augment={type(augment).__name__} cannot be called with an image and its boxes "
            f"({error}); use the transforms of torchvision.transforms.v2, which move both"
        ) from error
    if not isinstance(moved, tv_tensors.BoundingBoxes) or moved.shape != boxes.shape:
        raise TypeError(
            f"data.augment={type(augment).__name__} returned {type(moved).__name__} "
            f"{tuple(moved.shape)} for boxes {tuple(boxes.shape)}; use the transforms of "
            "torchvision.transforms.v2, which move boxes with their image"
        )
    if moved.canvas_size != tuple(changed.shape[-2:]):
        raise TypeError(
            f"data.augment={type(augment).__name__} changed the image to "
            f"{tuple(changed.shape[-2:])} pixels but not its boxes"
        )
    corners = clamp_bounding_boxes(moved).as_subclass(Tensor)
    there = ((corners[:, 2:] - corners[:, :2]) >= SMALLEST_PX).all(1)
    rows = torch.cat([label[real, :1], corners], dim=1)[there]
    return changed, filled(rows.tolist(), len(label))
