"""Random rotation and random resizing, instead of the noise of a vote (MedRDF, Table X)."""

import torch
from torch import Tensor

from medrobust.defense.noise.additive import Noise
from medrobust.defense.noise.resample import draw_whole, resample
from medrobust.number import fraction
from medrobust.rng import uniform


class Rotation(Noise):
    """Rotates each image about its centre by a random angle, bilinear, black outside.

    The image keeps its size, so corners are cropped. The angle is uniform, counter-clockwise.

    Args:
        low_degrees: smallest angle, -360 to 360.
        high_degrees: largest angle.
    """

    moves_pixels = True

    def __init__(self, low_degrees: float = 10.0, high_degrees: float = 100.0) -> None:
        self.high = fraction(high_degrees, "defense.noise.high_degrees", low=-360, high=360)
        self.low = fraction(low_degrees, "defense.noise.low_degrees", low=-360, high=self.high)

    def __call__(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return rotated images."""
        height, width = x.shape[2:]
        draw = uniform(seeds, (1, 1)).double()
        angle = torch.deg2rad(self.low + (self.high - self.low) * draw)
        middle = (height - 1) / 2, (width - 1) / 2
        down = torch.arange(height, device=x.device)[:, None] - middle[0]
        right = torch.arange(width, device=x.device) - middle[1]
        sine, cosine = angle.sin(), angle.cos()  # (N, 1, 1)
        rows = middle[0] + sine * right + cosine * down
        columns = middle[1] + cosine * right - sine * down
        return resample(x, rows, columns, mode="bilinear", outside="zeros")


class Resizing(Noise):
    """Shrinks each image to a random size and enlarges it back; both bilinear.

    The paper resizes to 200 to 224 of 224 pixels and does not state how such an image enters the
    network of 224. Here it is resized back, so that the anatomy keeps place and scale without a
    black frame that no training image has. This favours the competing method.

    Args:
        low: smallest size, as a share of the image's, in (0, 1].
        high: largest size.
    """

    def __init__(self, low: float | str = "200/224", high: float | str = 1.0) -> None:
        self.high = fraction(high, "defense.noise.high", above=True)
        self.low = fraction(low, "defense.noise.low", high=self.high, above=True)

    def __call__(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return resized images, as by F.interpolate without antialiasing, twice."""
        draw = uniform(seeds, (1,))  # shared by both sides: keeps the aspect ratio
        down, up = [], []
        for side in x.shape[2:]:
            low, high = (max(1, round(share * side)) for share in (self.low, self.high))
            length = draw_whole(draw, low, high)
            place = torch.arange(side, device=x.device) + 0.5
            share = length / side
            down.append(place / share - 0.5)
            # Clamp to the border of the small image.
            up.append(torch.minimum((place * share - 0.5).clamp(min=0), length - 1.0))
        for rows, columns in (down, up):
            x = resample(x, rows[..., None], columns[:, None], mode="bilinear", outside="border")
        return x
