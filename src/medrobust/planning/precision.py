"""Precision that a number of images gives, and images that a precision needs."""

from math import ceil, sqrt

from scipy.optimize import brentq
from scipy.stats import norm

LEVEL = 0.95
"""Confidence level of every interval, as of the rows."""
POWER = 0.8
DISCORDANT = 0.3
"""Assumed share of images on which two compared defenses disagree."""


def half_width(n: int) -> float:
    """Return half the length of Wilson's 95 % interval at p = 0.5, where it is longest.

    With z the normal quantile it is z / (2 √(n + z²)) (Wilson 1927).

    Args:
        n: number of images, at least 1.

    Returns:
        A share in (0, 0.5).
    """
    z = float(norm.isf((1 - LEVEL) / 2))
    return z / (2 * sqrt(n + z * z))


def images_for(half: float) -> int:
    """Return the smallest number of images whose interval is at most ± `half`.

    Args:
        half: half-width wanted, a share in (0, 0.5).

    Raises:
        ValueError: the half-width is not in (0, 0.5).
    """
    if not 0 < half < 0.5:
        raise ValueError(
            f"{half:g} is no half-width of a share, expected more than 0 and below 0.5"
        )
    z = float(norm.isf((1 - LEVEL) / 2))
    return max(1, ceil(z * z * (1 / (4 * half * half) - 1) - 1e-9))


def detectable_difference(n: int, discordant: float = DISCORDANT) -> float | None:
    """Return the difference of two accuracies that McNemar's test shows with 80 % power.

    Both defenses answer the same images and disagree on a share of them. The difference d solves
    z₀.₉₇₅ √ψ + z₀.₈ √(ψ − d²) = d √n (Miettinen 1968), the normal approximation of one test
    without a correction for several.

    Args:
        n: number of images.
        discordant: share ψ of images on which exactly one of the two is right.

    Returns:
        A share below `discordant`; None if even a difference of `discordant` is not shown.
    """
    alpha, beta = float(norm.isf((1 - LEVEL) / 2)), float(norm.ppf(POWER))

    def lacking(d: float) -> float:
        return alpha * sqrt(discordant) + beta * sqrt(max(0.0, discordant - d * d)) - d * sqrt(n)

    if lacking(discordant) > 0:
        return None
    return float(brentq(lacking, 0.0, discordant))
