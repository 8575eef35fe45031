"""Paired tests of two systems on the same images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, permutation_test

RESAMPLES = 9999
"""Random sign changes of the permutation test; its smallest p-value is 1 / 10000."""


class Paired(NamedTuple):
    """Two systems on the same images.

    Attributes:
        difference: mean score of the first minus that of the second.
        first: images on which only the first is right, or better.
        second: likewise for the second.
        p: two-sided p-value of "no difference", uncorrected.
        test: `mcnemar` (exact), `permutation` where scores are not all 0 or 1, or
            `permutation of groups`.
    """

    difference: float
    first: int
    second: int
    p: float
    test: str


def paired(
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    *,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> Paired:
    """Compare scores of the same N images.

    Of scores 0 and 1 it is McNemar's test in its exact form, a sign test on the images where the
    two disagree (McNemar 1947). Of others, such as shares of draws, it is the permutation test
    of the mean difference under random changes of its images' signs. Images of one group, such as
    a patient, are not exchanged one by one: the signs of whole groups change, of any scores.

    Args:
        one: (N,) scores.
        other: (N,).
        seed: seed of the permutations.
        groups: (N,) group of each image, counted from 0; None where all are independent.

    Raises:
        ValueError: the shapes differ, or there is no image.
    """
    if one.shape != other.shape or one.ndim != 1 or len(one) == 0:
        raise ValueError(f"scores have the shapes {one.shape} and {other.shape}, expected one (N,)")
    apart = one - other
    first, second = int((apart > 0).sum()), int((apart < 0).sum())
    binary = np.isin(one, (0.0, 1.0)).all() and np.isin(other, (0.0, 1.0)).all()
    test = "mcnemar" if binary else "permutation"
    if groups is not None:
        test = "permutation of groups"
        one, other = (np.bincount(groups, x).astype(np.float64) for x in (one, other))
    if first + second == 0:
        p = 1.0
    elif test == "mcnemar":
        p = float(binomtest(min(first, second), first + second).pvalue)
    else:
        found = permutation_test(
            (one, other),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(seed),
            batch=256,
        )
        p = float(found.pvalue)
    return Paired(float(apart.mean()), first, second, p, test)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm (1979), step down; in the given order."""
    order = np.argsort(values, kind="stable")
    corrected, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected
