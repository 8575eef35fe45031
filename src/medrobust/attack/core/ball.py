"""Balls: the images that an attacker may choose from, with a projection and a uniform draw."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from medrobust import rng


class Ball(ABC):
    """Images in [0, 1] within `eps` of `x`, in a norm that the subclass names.

    Points move in at least float32, so that small steps are not lost on a bfloat16 model; `shown`
    gives the model's own dtype back.

    Args:
        x: clean images (N, C, H, W) in [0, 1].
        eps: radius in pixel units.
    """

    def __init__(self, x: Tensor, eps: float) -> None:
        self.x = x
        self.eps = eps
        self.dtype = torch.promote_types(x.dtype, torch.float32)

    @property
    def centre(self) -> Tensor:
        """The clean images, in the dtype in which points move."""
        return self.x.to(self.dtype)

    def at(self, index: Tensor) -> "Ball":
        """The balls of a subset of the images."""
        return type(self)(self.x[index], self.eps)

    def shown(self, point: Tensor) -> Tensor:
        """`point` in the dtype of `x`, still inside the ball."""
        return rounded_toward(point, self.x)

    @abstractmethod
    def project(self, point: Tensor) -> Tensor:
        """A point of the ball near `point` (N, C, H, W), floating-point rounding included."""

    @abstractmethod
    def draw(self, seeds: Tensor) -> Tensor:
        """A random point per image, uniform in the ball before the cut to [0, 1]."""


class LinfBall(Ball):
    """max |x' - x| <= eps. The bounds are computed once and rounded inward."""

    def __init__(self, x: Tensor, eps: float) -> None:
        super().__init__(x, eps)
        exact = x.double()
        self.low = rounded_toward((exact - eps).clamp_(min=0), x).to(self.dtype)
        self.high = rounded_toward((exact + eps).clamp_(max=1), x).to(self.dtype)

    def project(self, point: Tensor) -> Tensor:
        """The nearest point, pixel by pixel."""
        return point.clamp(self.low, self.high)

    def draw(self, seeds: Tensor) -> Tensor:
        """Uniform in [-eps, eps] for every pixel and channel."""
        noise = rng.uniform(seeds, self.x.shape[1:]).to(self.dtype)
        return self.project(self.centre + self.eps * (2 * noise - 1))


class L2Ball(Ball):
    """||x' - x||_2 <= eps over all pixels and channels of an image."""

    def project(self, point: Tensor) -> Tensor:
        """Onto the sphere along the radius, then cut to [0, 1].

        The cut only shortens the perturbation, so the result is in the ball; it is the usual
        choice, not the nearest point of the intersection.
        """
        delta = point - self.x
        factor = self.eps / norm(delta, dtype=torch.float64).clamp(min=self.eps)
        return (self.x + delta * factor.to(delta.dtype)).clamp_(0, 1)

    def draw(self, seeds: Tensor) -> Tensor:
        """A uniform direction, at radius eps * u^(1/D) for an image of D numbers."""
        shape = self.x.shape[1:]
        direction = rng.normal(rng.fold_in(seeds, 0), shape).to(self.dtype)
        direction /= norm(direction)
        radius = rng.uniform(rng.fold_in(seeds, 1), (1, 1, 1)).double() ** (1 / shape.numel())
        return self.project(self.centre + self.eps * radius.to(self.dtype) * direction)


def norm(images: Tensor, order: float = 2, dtype: torch.dtype | None = None) -> Tensor:
    """Norm of each image over all its numbers, (N, 1, 1, 1).

    Flattened first: only then is an image's sum the same, bit by bit, in any batch and layout.
    """
    flat = images.flatten(1)
    return torch.linalg.vector_norm(flat, order, dim=1, dtype=dtype).view(-1, 1, 1, 1)


def rounded_toward(value: Tensor, x: Tensor) -> Tensor:
    """`value` in the dtype of `x`, rounded so that it never ends farther from `x`."""
    if value.dtype == x.dtype:
        return value
    near = value.to(x.dtype)
    farther = (near.to(value.dtype) - x).abs_() > (value - x).abs_()
    return torch.nextafter(near, x).where(farther, near)
