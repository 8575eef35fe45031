"""Wilson's interval of images that are not independent, such as those of one patient."""

import math

import numpy as np
from scipy.stats import norm, t


def grouped_wilson(
    hits: np.ndarray, among: np.ndarray, groups: np.ndarray, *, level: float = 0.95
) -> list[float]:
    """Compute Wilson's interval of a share at the effective sample size of grouped images.

    The effective size is n / deff, with the design effect deff = v / (p (1 - p) / (n - 1)) (Kish
    1965) and the variance of a ratio over k groups, v = k / (k - 1) · Σ (hits of a group - p · its
    size)² / n². It is scaled by the squared ratio of Student's quantiles for n - 1 and k - 1
    degrees of freedom (Korn and Graubard 1998), and is at most n, so that the interval is never
    narrower than over independent images. Where all images agree, or there is one group, v says
    nothing, and groups count as fully correlated: n² / Σ size².

    A bootstrap of groups would give a share of 0 an interval of [0, 0].

    Args:
        hits: (N,) 0 or 1.
        among: (N,) 0 or 1, the n images that the share is about, at least one.
        groups: (N,) group of each image.
        level: confidence level.

    Returns:
        [low, high] in [0, 1].
    """
    hit, size = (np.bincount(groups, part) for part in (hits * among, among))
    hit, size = hit[size > 0], size[size > 0]
    n, k = float(size.sum()), len(size)
    p = float(hit.sum()) / n
    upper = (1 + level) / 2
    if k == 1 or p in (0.0, 1.0):
        effective = n**2 / float((size**2).sum())
    else:
        variance = k / (k - 1) * float(((hit - p * size) ** 2).sum()) / n**2
        scale = float(t.ppf(upper, n - 1) / t.ppf(upper, k - 1)) ** 2
        effective = scale * n / (n - 1) * p * (1 - p) / variance if variance > 0 else n
    return _wilson(p, min(n, effective), float(norm.ppf(upper)))


def _wilson(p: float, n: float, z: float) -> list[float]:
    """Return Wilson's interval of a share p of n trials, which need not be a whole number."""
    centre = p + z**2 / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((centre + side) / (1 + z**2 / n) for side in (-half, half))
    return [0.0 if p == 0 else max(0.0, low), 1.0 if p == 1 else min(1.0, high)]
