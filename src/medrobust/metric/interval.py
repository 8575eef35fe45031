"""Confidence intervals: Wilson for proportions, bootstrap for the rest."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from medrobust.metric.grouped import grouped_wilson

Statistic = Callable[[np.ndarray], np.ndarray]
"""Function of the weights of N images, float64 (R, N), that returns a metric under each, (R,).

It is NaN where the metric is undefined.
"""


def wilson(hits: int, n: int, *, level: float = 0.95) -> list[float]:
    """Compute Wilson's score interval of a proportion.

    Args:
        hits: successes, 0 to `n`.
        n: trials, at least 1.
        level: confidence level.

    Returns:
        [low, high] in [0, 1].
    """
    bounds = binomtest(hits, n).proportion_ci(confidence_level=level, method="wilson")
    return [float(bounds.low), float(bounds.high)]


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    n: int,
    *,
    seed: int,
    resamples: int = 200,
    level: float = 0.95,
) -> list[float]:
    """Compute a percentile bootstrap interval over images.

    Args:
        statistic: image indices (n,), with repetition -> number; NaN is ignored.
        n: number of images.
        seed: seed of the resampling.
        resamples: number of resamples.
        level: confidence level.

    Returns:
        [low, high].
    """
    generator = np.random.default_rng(seed)
    values = np.array([statistic(generator.integers(0, n, n)) for _ in range(resamples)])
    return _percentiles(values, level)


def counted_bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    n: int,
    *,
    seed: int,
    groups: np.ndarray | None = None,
    resamples: int = 200,
    level: float = 0.95,
) -> list[float]:
    """Compute `bootstrap` with the same draws at once, for statistics that take weights.

    Args:
        statistic: how often each image was drawn, float64 (resamples, n) -> number of each resample
            (resamples,); NaN is ignored.
        n: number of images.
        seed: seed of the resampling.
        groups: (n,) group of each image, counted from 0, to draw whole groups instead of images.
        resamples: number of resamples.
        level: confidence level.

    Returns:
        [low, high].
    """
    members = None if groups is None else groups.astype(np.int64).tobytes()
    return _percentiles(statistic(_drawn(n, seed, resamples, members)), level)


@lru_cache(maxsize=1)
def _drawn(n: int, seed: int, resamples: int, members: bytes | None) -> np.ndarray:
    """Return how often each image is drawn, float64 (resamples, n); one array for all metrics."""
    groups = np.arange(n) if members is None else np.frombuffer(members, np.int64)
    size = int(groups.max()) + 1
    drawn = np.random.default_rng(seed).integers(0, size, (resamples, size))
    places = drawn + size * np.arange(resamples)[:, None]
    counts = np.bincount(places.ravel(), minlength=resamples * size).reshape(resamples, size)
    found = counts.astype(np.float64)[:, groups]
    found.flags.writeable = False
    return found


def _percentiles(values: np.ndarray, level: float) -> list[float]:
    edge = (1 - level) / 2
    low, high = np.nanquantile(values, [edge, 1 - edge])
    return [float(low), float(high)]


def weighted(top: Tensor, bottom: Tensor | None = None) -> Statistic:
    """Return the statistic Σ w · top / Σ w · bottom.

    Args:
        top: (N,); a bool counts as 0 or 1.
        bottom: (N,) likewise, such as the images that a share is about; None for ones.
    """
    above = top.double().numpy()
    below = np.ones(len(above)) if bottom is None else bottom.double().numpy()

    def over(counts: np.ndarray) -> np.ndarray:
        total = counts @ below
        empty = np.full(len(total), np.nan)
        return np.divide(counts @ above, total, out=empty, where=total > 0)

    return over


class Proportion:
    """Share of hits among some images, as a statistic.

    Args:
        hits: bool (N,).
        among: bool (N,), the images that the share is about; None for all.

    Attributes:
        hits: float64 (N,), 0 outside of these images.
        among: float64 (N,).
    """

    def __init__(self, hits: Tensor, among: Tensor | None = None) -> None:
        kept = torch.ones_like(hits) if among is None else among
        self.hits, self.among = (hits & kept).double().numpy(), kept.double().numpy()
        self._over = weighted(hits & kept, among)

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Return the share under the images' weights."""
        return self._over(counts)


def share(hits: Tensor, among: Tensor | None = None) -> tuple[float, list[float], Statistic]:
    """Return a share of images, its Wilson interval and its statistic.

    Args:
        hits: bool (N,).
        among: bool (N,), at least one True: the images that the share is about; None for all.
    """
    value, interval = proportion(hits if among is None else hits[among])
    return value, interval, Proportion(hits, among)


def proportion(hits: Tensor, groups: np.ndarray | None = None) -> tuple[float, list[float]]:
    """Return the share of True in a bool tensor (N,), and its Wilson interval.

    Args:
        hits: bool (N,).
        groups: (N,) group of each image, for `grouped_wilson`; None for independent images.
    """
    value = hits.double().mean().item()
    if groups is None:
        return value, wilson(int(hits.sum()), len(hits))
    return value, grouped_wilson(hits.double().numpy(), np.ones(len(hits)), groups)


def mean_where(top: np.ndarray, bottom: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Average `top / bottom` over the last axis where `there`; NaN if it is nowhere."""
    shares = np.divide(top, bottom, out=np.zeros_like(top, dtype=np.float64), where=there)
    count = there.sum(1)
    return np.divide(shares.sum(1), count, out=np.full(len(top), np.nan), where=count > 0)
