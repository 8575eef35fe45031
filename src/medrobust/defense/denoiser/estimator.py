"""Zeroth-order gradient estimators, from queries of a function's values."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from medrobust.configured import Configured
from medrobust.number import fraction, whole
from medrobust.rng import fold_in, normal, uniform

Query = Callable[[Tensor, Tensor], Tensor]
"""A zeroth-order oracle: points (M, ...) and their samples, int64 (M,) -> values (M,)."""


class Estimate(NamedTuple):
    """Values and estimated gradients at a batch of points.

    Attributes:
        value: values at the points, (N,).
        grad: estimated gradient, like the points.
    """

    value: Tensor
    grad: Tensor


class Estimator(Configured, ABC):
    """Finite differences around each sample's own point.

    The queries of a batch are batched, at most `chunk` points at once; sums run in the order of the
    queries, so that neither the chunk nor the other samples change a result.

    Args:
        mu: smoothing radius, in units of the points.
        chunk: points queried at once; bounds memory.
    """

    unscientific = ("chunk",)

    def __init__(self, mu: float | str, *, chunk: int) -> None:
        self.mu = fraction(mu, "defense.estimator.mu", above=True)
        self.chunk = whole(chunk, "defense.estimator.chunk", low=1)

    @abstractmethod
    def count(self, dimension: int) -> int:
        """Return the number of queries per sample in so many dimensions, without the point itself.

        Raises:
            ValueError: there are fewer dimensions than queried coordinates.
        """

    @abstractmethod
    def offsets(self, seeds: Tensor, dimension: int) -> "Offsets":
        """Draw the offsets of the samples' queries."""

    def __call__(self, query: Query, z: Tensor, *, seeds: Tensor) -> Estimate:
        """Estimate value and gradient at `z`.

        Args:
            query: zeroth-order oracle.
            z: points (N, ...).
            seeds: seeds of the samples, int64 (N,).

        Raises:
            ValueError: there are fewer dimensions than queried coordinates.
        """
        with torch.no_grad():
            z = z.detach()
            flat = z.flatten(1)
            wanted, dimension = self.count(flat.shape[1]), flat.shape[1]
            offsets = self.offsets(seeds, dimension)
            row = torch.arange(len(z), device=z.device)
            value = self._query(query, z, row)
            grad = torch.zeros_like(flat)
            group = max(1, self.chunk // max(1, len(z)))
            for first in range(0, wanted, group):
                numbers = torch.arange(first, min(first + group, wanted), device=z.device)
                steps = offsets.steps(numbers).to(flat.dtype)
                points = torch.add(flat, steps, alpha=self.mu).view(-1, *z.shape[1:])
                found = self._query(query, points, row.repeat(len(numbers)))
                for step, answer in zip(steps, found.view(-1, len(z)), strict=True):
                    grad += offsets.weight(answer, value)[:, None] * step
            return Estimate(value, (grad * (offsets.factor / self.mu)).view_as(z))

    def _query(self, query: Query, points: Tensor, row: Tensor) -> Tensor:
        parts = zip(points.split(self.chunk), row.split(self.chunk), strict=True)
        return torch.cat([query(*part) for part in parts])


class Offsets(ABC):
    """The offsets of a batch's queries, by number.

    Attributes:
        factor: factor of the sum of weight · step, without 1 / mu.
    """

    factor: float

    @abstractmethod
    def steps(self, numbers: Tensor) -> Tensor:
        """Return the offsets of the queries `numbers` (M,), in units of mu: (M, N, D)."""

    @abstractmethod
    def weight(self, answer: Tensor, value: Tensor) -> Tensor:
        """Return the weight of a step (N,), from the values there and at the point."""


class RGE(Estimator):
    """Randomised gradient estimate: forward differences along random directions.

    Liu et al. 2018; Zhang et al. 2022, eq. 4 (the poster's eq. 2): the mean over q directions u,
    uniform on the unit sphere, of (d / mu) (f(z + mu u) - f(z)) u. Its expectation is the gradient
    of f averaged over a ball of radius mu. It takes q + 1 queries, and its cosine with the gradient
    of a linear function is about sqrt(q / (q + d)).

    Args:
        q: number of directions per sample.
        mu: see `Estimator`; 0.005 in the authors' code.
        chunk: see `Estimator`.
    """

    def __init__(self, q: int, mu: float | str = 0.005, *, chunk: int = 512) -> None:
        super().__init__(mu, chunk=chunk)
        self.q = whole(q, "defense.estimator.q", low=1)

    def count(self, dimension: int) -> int:
        """Return q, for any number of dimensions."""
        return self.q

    def offsets(self, seeds: Tensor, dimension: int) -> Offsets:
        """Draw random directions for each sample."""
        return _Sphere(seeds, dimension, self.q)


class CGE(Estimator):
    """Coordinate-wise gradient estimate: central differences along the axes.

    Zhang et al. 2022: the sum over coordinates i of (f(z + mu e_i) - f(z - mu e_i)) / (2 mu) e_i,
    as in the authors' code. With fewer than all d coordinates each sample draws its q without
    repetition, and the sum is multiplied by d / q, which keeps its expectation. It takes 2 q + 1
    queries.

    Args:
        q: number of coordinates per sample; None for all.
        mu: see `Estimator`; 0.005 in the authors' code.
        chunk: see `Estimator`.
    """

    def __init__(self, q: int | None = None, mu: float | str = 0.005, *, chunk: int = 512) -> None:
        super().__init__(mu, chunk=chunk)
        self.q = None if q is None else whole(q, "defense.estimator.q", low=1)

    def count(self, dimension: int) -> int:
        """Return two queries for each coordinate.

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
        """Draw pairs of opposite offsets along the axes."""
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
        return answer  # the opposite step subtracts the other side


def expected_cosine(q: int, dimension: int) -> float:
    """Return the approximate cosine of `RGE` with a linear function's gradient.

    It is sqrt(q / (q + d - 1)), since the estimate is (d / q) times the sum of the projections on q
    directions.
    """
    return math.sqrt(q / (q + dimension - 1))
