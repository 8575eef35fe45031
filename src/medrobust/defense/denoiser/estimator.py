"""Gradients of a function that can only be asked for its values."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from medrobust.configured import Configured
from medrobust.number import fraction, whole
from medrobust.rng import fold_in, normal, uniform

Ask = Callable[[Tensor, Tensor], Tensor]
"""Points (M, ...) and the sample that each belongs to, int64 (M,) -> values (M,)."""


class Estimate(NamedTuple):
    """What some questions told.

    Attributes:
        value: at the points themselves, (N,).
        grad: estimated gradient, like the points.
    """

    value: Tensor
    grad: Tensor


class Estimator(Configured, ABC):
    """Finite differences around each sample's own point.

    All questions about a batch are asked together, at most `chunk` points at once; sums run in the
    order of the questions, so that neither the chunk nor the other samples change a result.

    Args:
        mu: how far a question looks, in units of what is asked about.
        chunk: points that are asked about at once; bounds memory.
    """

    unscientific = ("chunk",)

    def __init__(self, mu: float | str, *, chunk: int) -> None:
        self.mu = fraction(mu, "defense.estimator.mu", above=True)
        self.chunk = whole(chunk, "defense.estimator.chunk", low=1)

    @abstractmethod
    def count(self, dimension: int) -> int:
        """Offsets of one sample in so many dimensions; the point itself is asked about besides.

        Raises:
            ValueError: more than there are.
        """

    @abstractmethod
    def offsets(self, seeds: Tensor, dimension: int) -> "Offsets":
        """Where the samples are asked about."""

    def __call__(self, ask: Ask, z: Tensor, *, seeds: Tensor) -> Estimate:
        """Ask about `z` and around it.

        Args:
            ask: the function; no gradient of it is taken.
            z: points (N, ...).
            seeds: int64 (N,), of the samples.

        Raises:
            ValueError: more questions than dimensions, where each has one.
        """
        with torch.no_grad():
            z = z.detach()
            flat = z.flatten(1)
            wanted, dimension = self.count(flat.shape[1]), flat.shape[1]
            offsets = self.offsets(seeds, dimension)
            row = torch.arange(len(z), device=z.device)
            value = self._asked(ask, z, row)
            grad = torch.zeros_like(flat)
            group = max(1, self.chunk // max(1, len(z)))
            for first in range(0, wanted, group):
                numbers = torch.arange(first, min(first + group, wanted), device=z.device)
                steps = offsets.steps(numbers).to(flat.dtype)
                points = torch.add(flat, steps, alpha=self.mu).view(-1, *z.shape[1:])
                found = self._asked(ask, points, row.repeat(len(numbers)))
                for step, answer in zip(steps, found.view(-1, len(z)), strict=True):
                    grad += offsets.weight(answer, value)[:, None] * step
            return Estimate(value, (grad * (offsets.factor / self.mu)).view_as(z))

    def _asked(self, ask: Ask, points: Tensor, row: Tensor) -> Tensor:
        parts = zip(points.split(self.chunk), row.split(self.chunk), strict=True)
        return torch.cat([ask(*part) for part in parts])


class Offsets(ABC):
    """The questions about a batch, by number.

    Attributes:
        factor: of the sum of weight · step, beside 1 / mu.
    """

    factor: float

    @abstractmethod
    def steps(self, numbers: Tensor) -> Tensor:
        """Offsets of every sample's questions of these numbers (M,), in units of mu: (M, N, D)."""

    @abstractmethod
    def weight(self, answer: Tensor, value: Tensor) -> Tensor:
        """What a step counts for, from the answer there and that at the point: (N,)."""


class RGE(Estimator):
    """Randomised gradient estimate: forward differences along random directions.

    Liu et al. 2018; Zhang et al. 2022, eq. 4 (the poster's eq. 2): the mean over q directions u,
    uniform on the unit sphere, of (d / mu) (f(z + mu u) - f(z)) u. Its expectation is the gradient
    of f averaged over a ball of radius mu. Of q + 1 questions; its cosine with the gradient of a
    linear function is about sqrt(q / (q + d)).

    Args:
        q: directions per sample.
        mu: see `Estimator`; 0.005 in the authors' code.
        chunk: see `Estimator`.
    """

    def __init__(self, q: int, mu: float | str = 0.005, *, chunk: int = 512) -> None:
        super().__init__(mu, chunk=chunk)
        self.q = whole(q, "defense.estimator.q", low=1)

    def count(self, dimension: int) -> int:
        """q, however many dimensions there are."""
        return self.q

    def offsets(self, seeds: Tensor, dimension: int) -> Offsets:
        """Directions of each sample's own."""
        return _Sphere(seeds, dimension, self.q)


class CGE(Estimator):
    """Coordinate-wise gradient estimate: central differences along the axes.

    Zhang et al. 2022: the sum over coordinates i of (f(z + mu e_i) - f(z - mu e_i)) / (2 mu) e_i,
    as in the authors' code. With fewer than all d coordinates each sample draws its q without
    repetition, and the sum is multiplied by d / q, so that its expectation is still the whole
    gradient's. Of 2 q + 1 questions.

    Args:
        q: coordinates per sample; None = all.
        mu: see `Estimator`; 0.005 in the authors' code.
        chunk: see `Estimator`.
    """

    def __init__(self, q: int | None = None, mu: float | str = 0.005, *, chunk: int = 512) -> None:
        super().__init__(mu, chunk=chunk)
        self.q = None if q is None else whole(q, "defense.estimator.q", low=1)

    def count(self, dimension: int) -> int:
        """Two for each coordinate.

        Raises:
            ValueError: q is larger than the dimension.
        """
        if self.q is not None and self.q > dimension:
            raise ValueError(
                f"defense.estimator.q={self.q} coordinates of a point that has {dimension}; "
                f"expected at most {dimension}, or null for all"
            )
        return 2 * (self.q or dimension)

    def offsets(self, seeds: Tensor, dimension: int) -> Offsets:
        """Pairs on both sides along an axis."""
        return _Axes(seeds, dimension, self.q)


class _Sphere(Offsets):
    def __init__(self, seeds: Tensor, dimension: int, q: int) -> None:
        self.seeds, self.dimension = seeds, dimension
        self.factor = dimension / q

    def steps(self, numbers: Tensor) -> Tensor:
        noise = fold_in(self.seeds, numbers[:, None]).flatten()
        drawn = normal(noise, (self.dimension,))
        drawn /= drawn.norm(dim=1, keepdim=True)
        return drawn.view(len(numbers), -1, self.dimension)

    def weight(self, answer: Tensor, value: Tensor) -> Tensor:
        return answer - value


class _Axes(Offsets):
    def __init__(self, seeds: Tensor, dimension: int, q: int | None) -> None:
        self.dimension = dimension
        self.axes = torch.arange(dimension, device=seeds.device).expand(len(seeds), -1)
        if q is not None and q < dimension:
            self.axes = uniform(seeds, (dimension,)).argsort(dim=1, stable=True)[:, :q]
        self.factor = dimension / self.axes.shape[1] / 2

    def steps(self, numbers: Tensor) -> Tensor:
        axes = self.axes[:, numbers // 2].T[..., None]
        sides = (1.0 - 2.0 * (numbers % 2)).view(-1, 1, 1).expand_as(axes)
        steps = torch.zeros(*axes.shape[:2], self.dimension, device=axes.device)
        return steps.scatter_(2, axes, sides)

    def weight(self, answer: Tensor, value: Tensor) -> Tensor:
        return answer  # the other side's step is the opposite, so that differences arise


def expected_cosine(q: int, dimension: int) -> float:
    """About what cosine `RGE` has with the gradient of a linear function: sqrt(q / (q + d - 1)).

    The estimate is (d / q) times the sum of the projections on q directions.
    """
    return math.sqrt(q / (q + dimension - 1))
