"""Random resizing and padding, drawn for every image of a batch by itself."""

from typing import NamedTuple

import torch
from torch import Tensor

from medrobust import rng


class Window(NamedTuple):
    """Place of a shrunk image in a canvas of its old size, in pixels, one number per image.

    Attributes:
        height: int64 (N,), rows of the shrunk image.
        width: int64 (N,), columns.
        top: int64 (N,), empty rows above it.
        left: int64 (N,), empty columns left of it.
    """

    height: Tensor
    width: Tensor
    top: Tensor
    left: Tensor


def draw_window(
    seeds: Tensor, height: int, width: int, *, rate: float, probability: float
) -> Window:
    """A size and a place for each image.

    The size of a side of length s is uniform in floor(rate * s), ..., s - 1 (Xie et al. 2019);
    height and width take the same draw, so that an image keeps its proportions. The place is
    uniform among all that lie in the canvas.

    Args:
        seeds: int64 (N,).
        height: of the images, in pixels.
        width: of the images, in pixels.
        rate: smallest size, as a share of the old one, in (0, 1).
        probability: of shrinking an image at all; else its window is the whole canvas.
    """
    chance = rng.uniform(seeds, (4,)).double()
    size, down, right, coin = chance.unbind(1)
    shrink = coin < probability
    sides = []
    for side, place in ((height, down), (width, right)):
        low = max(1, int(rate * side + 1e-9))  # 0.7 * 10 is 7, whatever its last bit
        length = torch.where(shrink, low + (size * (side - low)).long(), side)
        sides.append((length, (place * (side - length + 1)).long()))
    (rows, top), (columns, left) = sides
    return Window(rows, columns, top, left)


def shrink(images: Tensor, window: Window) -> Tensor:
    """Each image resized into its own window by nearest neighbour; zeros around it.

    Differentiable and exactly linear: every pixel of the result is one of the image's or zero.

    Args:
        images: (N, C, H, W), or masks (N, H, W), of any dtype.
        window: one per image.

    Returns:
        Like `images`.
    """
    channels = images if images.ndim == 4 else images.unsqueeze(1)
    rows, in_rows = _sources(window.top, window.height, channels.shape[2])
    columns, in_columns = _sources(window.left, window.width, channels.shape[3])
    rows, columns = rows[:, None, :, None], columns[:, None, None, :]
    moved = channels.gather(2, rows.expand(channels.shape))
    moved = moved.gather(3, columns.expand(channels.shape))
    inside = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return moved.where(inside, torch.zeros_like(moved)).view(images.shape)


def shrink_boxes(boxes: Tensor, window: Window, canvas: tuple[int, int]) -> Tensor:
    """Boxes of images that `shrink` resizes, where they lie then.

    Args:
        boxes: (N, M, 5): class, left, top, right and bottom in pixels.
        window: one per image.
        canvas: height and width of the images in pixels.

    Returns:
        Like `boxes`.
    """
    size = torch.stack([window.width, window.height] * 2, 1).to(boxes).unsqueeze(1)
    start = torch.stack([window.left, window.top] * 2, 1).to(boxes).unsqueeze(1)
    whole = boxes.new_tensor([canvas[1], canvas[0]] * 2)
    return torch.cat([boxes[..., :1], boxes[..., 1:] * size / whole + start], dim=2)


def _sources(start: Tensor, length: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return which of `side` old pixels each new one shows, (N, side), and whether it shows any."""
    place = torch.arange(side, device=start.device) - start[:, None]
    inside = (place >= 0) & (place < length[:, None])
    return (place * side // length[:, None]).where(inside, 0), inside
