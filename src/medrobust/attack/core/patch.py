"""Random square patches of a perturbation, as Square Attack starts from and proposes them.

Andriushchenko et al. 2020, "Square Attack", algorithms 2 (L∞) and 3 (L2). Squares lie at every
position of the image, its last row and column included, each image at its own; images need not be
square.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust import rng
from medrobust.attack.core.ball import Ball, L2Ball, LinfBall, norm


class Patches(ABC):
    """Points of a ball that differ in a square.

    Points are images (N, C, H, W) in the dtype of `Ball.centre`; `shown` gives that of `x`.

    Args:
        x: clean images (N, C, H, W) in [0, 1].
        eps: radius in pixel units.
    """

    ball_class: ClassVar[type[Ball]]

    def __init__(self, x: Tensor, eps: float) -> None:
        self.ball = self.ball_class(x, eps)

    def at(self, index: Tensor) -> "Patches":
        """Those of a subset of the images."""
        return type(self)(self.ball.x[index], self.ball.eps)

    def shown(self, point: Tensor) -> Tensor:
        """`point` in the dtype of `x`, in the ball."""
        return self.ball.shown(point)

    @abstractmethod
    def start(self, seeds: Tensor) -> Tensor:
        """Random points at the edge of the ball; seeds int64 (N,)."""

    @abstractmethod
    def propose(self, point: Tensor, side: float, seeds: Tensor) -> Tensor:
        """`point` with another square of about `side` pixels a side."""

    def _inside(self, place: Tensor, side: int) -> Tensor:
        """Bool (N, 1, H, W): the square at `place` (N, 2), numbers in [0, 1)."""
        down, across = (
            _within(place[:, k, None], side, size) for k, size in enumerate(self.ball.x.shape[2:])
        )
        return ((down >= 0)[:, :, None] & (across >= 0)[:, None])[:, None]


class LinfPatches(Patches):
    """Every pixel at an end of its interval; a square gets one sign per channel."""

    ball_class = LinfBall
    ball: LinfBall

    def start(self, seeds: Tensor) -> Tensor:
        """Vertical stripes one pixel wide, of random sign in each channel."""
        up = rng.uniform(seeds, (self.ball.x.shape[1], 1, self.ball.x.shape[3])) < 0.5
        return self._ends(up)

    def propose(self, point: Tensor, side: float, seeds: Tensor) -> Tensor:
        """Signs that change nothing are drawn again: that query would be lost."""
        channels = point.shape[1]
        width = min(max(round(side), 1), *point.shape[2:])
        drawn = rng.uniform(seeds, (2 + 2 * channels,))
        inside = self._inside(drawn[:, :2], width)
        up, flip = (drawn[:, 2:] < 0.5).chunk(2, dim=1)
        up, flip = up[:, :, None, None], (flip | ~flip.any(dim=1, keepdim=True))[:, :, None, None]
        candidate = self._ends(up).where(inside, point)
        idle = (candidate == point).flatten(1).all(dim=1).view(-1, 1, 1, 1)
        return self._ends(up ^ (flip & idle)).where(inside, point)

    def _ends(self, up: Tensor) -> Tensor:
        return self.ball.high.where(up, self.ball.low)


class L2Patches(Patches):
    """Mass of the perturbation moves from one square to another, which gets a new bump."""

    ball_class = L2Ball

    def start(self, seeds: Tensor) -> Tensor:
        """A grid of bumps, five along the shorter side, of random sign and orientation."""
        _, channels, *sizes = self.ball.x.shape
        side = max(1, min(sizes) // 5)
        tiles = [size // side for size in sizes]
        grid = rng.uniform(seeds, (channels + 1, *tiles)).repeat_interleave(side, 2)
        grid = grid.repeat_interleave(side, 3) < 0.5  # signs of each channel, and orientation
        at = [torch.arange(n * side, device=seeds.device) % side for n in tiles]
        bump = _bump(side, self.ball.centre)[grid[:, -1].long(), at[0][:, None], at[1]]
        delta = bump[:, None].where(grid[:, :-1], -bump[:, None])
        margin = [size - n * side for size, n in zip(sizes, tiles, strict=True)]
        pad = [m for total in reversed(margin) for m in (total // 2, total - total // 2)]
        return self._edge(F.pad(delta, pad))

    def propose(self, point: Tensor, side: float, seeds: Tensor) -> Tensor:
        """A bump joins the first square; what the second holds is taken from it."""
        centre, channels, sizes = self.ball.centre, point.shape[1], point.shape[2:]
        width = min(max(round(side), 3) // 2 * 2 + 1, *sizes)
        drawn = rng.uniform(seeds, (5 + channels,))
        first, second = self._inside(drawn[:, :2], width), self._inside(drawn[:, 2:4], width)
        down, across = (
            _within(drawn[:, k, None], width, size).clamp(min=0) for k, size in enumerate(sizes)
        )
        turned = (drawn[:, 4] < 0.5).long()[:, None, None]
        bump = _bump(width, centre)[turned, down[:, :, None], across[:, None]][:, None] * first
        sign = 1 - 2 * (drawn[:, 5:] < 0.5).to(point.dtype)[:, :, None, None]

        delta = point - centre
        freed = _channel_norm(delta * (first | second)) ** 2
        unused = (self.ball.eps**2 - norm(delta) ** 2).clamp(min=0) / channels
        fresh = bump * sign + _unit(delta * first)
        return self._edge(delta * ~(first | second) + _unit(fresh) * (unused + freed).sqrt())

    def _edge(self, delta: Tensor) -> Tensor:
        """The clean images plus `delta`, stretched to the radius, cut to [0, 1]."""
        length = norm(delta, dtype=torch.float64).clamp(min=torch.finfo(torch.float64).tiny)
        stretched = delta * (self.ball.eps / length).to(delta.dtype)
        return self.ball.project(self.ball.centre + stretched)


def _within(place: Tensor, side: int, size: int) -> Tensor:
    """Pixel numbers inside a segment at `place` (N, 1) in [0, 1): int64 (N, size), outside -1."""
    first = (place * (size - side + 1)).long().clamp(max=size - side)
    number = torch.arange(size, device=place.device) - first
    return number.where((number >= 0) & (number < side), -1)


def _bump(side: int, like: Tensor) -> Tensor:
    """The paper's eta: a hill above a hollow, of length one; (2, side, side), turned too.

    A hill of h x w falls off with the Chebyshev distance m from its centre, as the tail sum of
    1 / (m + 1)^2.
    """
    halves = [_hill(side // 2, side, like), -_hill(side - side // 2, side, like)]
    bump = torch.cat(halves)
    bump = bump / torch.linalg.vector_norm(bump)
    return torch.stack([bump, bump.T])


def _hill(height: int, width: int, like: Tensor) -> Tensor:
    far = max(height, width) // 2 + 1
    terms = 1 / torch.arange(1, far + 1, dtype=like.dtype, device=like.device) ** 2
    tail = terms.flip(0).cumsum(0).flip(0)
    down, across = (
        (torch.arange(size, device=like.device) - size // 2).abs() for size in (height, width)
    )
    hill = tail[torch.maximum(down[:, None], across)]
    return hill / torch.linalg.vector_norm(hill)


def _channel_norm(images: Tensor) -> Tensor:
    """(N, C, 1, 1)."""
    return torch.linalg.vector_norm(images.flatten(2), dim=2)[:, :, None, None]


def _unit(images: Tensor) -> Tensor:
    """Each channel at length one; a channel of zeros stays."""
    length = _channel_norm(images)
    return images / length.clamp(min=torch.finfo(length.dtype).tiny)
