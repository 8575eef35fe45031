"""Worst case of each image over several attacks."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medrobust.metric.grouped import grouped_wilson
from medrobust.metric.interval import counted_bootstrap, wilson


class Worst(NamedTuple):
    """Share or score that several attacks leave together.

    Attributes:
        per_image: float64 (N,), score of each image under the attack that hurts it most.
        value: mean over the images.
        interval: [low, high], 95 %: Wilson's where every score is 0 or 1, else a bootstrap over
            images; both over groups where there are some.
        by: attack -> number of images that it is chosen for, those of the attack that is strongest
            alone first; images that no attack hurts are in none.
    """

    per_image: NDArray[np.float64]
    value: float
    interval: list[float]
    by: dict[str, int]


def worst_case(
    scores: Mapping[str, NDArray[np.float64]],
    clean: NDArray[np.float64] | None = None,
    *,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> Worst:
    """Return the worst case per image.

    Of a deterministic defense (K = 1) it is the smallest score over the attacks. Of a randomized
    one it is the smallest expected score: the smallest of several means of draws is too small,
    since luck chooses it, so the draws are split in two, one half chooses an image's attack, the
    other judges it, both ways, and the results are averaged by the number of draws that judged.
    Nine attacks that are equally strong are then no worse than one of them.

    Args:
        scores: attack -> (K, N) scores of N images in K draws of the defense, 1 for an image that
            withstands and 0 for one that does not, or a degree between. Draw k of all attacks.
        clean: (N,) scores without attack; an image that no attack brings below it is in no `by`.
            None: 1 for all.
        seed: seed of the bootstrap.
        groups: (N,) group of each image, counted from 0; None where all are independent.

    Raises:
        ValueError: there is no attack, or the shapes differ.
    """
    shapes = {values.shape for values in scores.values()}
    if len(shapes) != 1:
        raise ValueError(
            f"scores have the shapes {sorted(shapes)}, expected one or more attacks with the same "
            "draws and images"
        )
    names = sorted(scores, key=lambda name: float(scores[name].mean()))  # stable: first of equals
    values = np.stack([scores[name] for name in names])  # (A, K, N)
    draws, count = values.shape[1:]
    unhurt = np.ones(count) if clean is None else clean
    if draws == 1:
        choice = values[:, 0].argmin(axis=0)
        per_image = values[choice, 0, np.arange(count)]
        by = _chosen(names, choice, per_image < unhurt, 1.0)
    else:
        halves = (np.arange(draws) % 2 == 0, np.arange(draws) % 2 == 1)
        per_image, by = np.zeros(count), dict.fromkeys(names, 0.0)
        for chooses, judges in (halves, halves[::-1]):
            choice = values[:, chooses].mean(axis=1).argmin(axis=0)
            judged = values[:, judges].mean(axis=1)[choice, np.arange(count)]
            share = judges.sum() / draws
            per_image += share * judged
            for name, number in _chosen(names, choice, judged < unhurt, share).items():
                by[name] += number
    value = float(per_image.mean())
    binary = np.isin(per_image, (0.0, 1.0)).all()
    if binary and groups is not None:
        interval = grouped_wilson(per_image, np.ones(count), groups)
    elif binary:
        interval = wilson(int(per_image.sum()), count)
    else:
        interval = counted_bootstrap(
            lambda drawn: drawn @ per_image / drawn.sum(axis=1), count, seed=seed, groups=groups
        )
    return Worst(per_image, value, interval, {k: round(n) for k, n in by.items() if round(n)})


def _chosen(
    names: list[str], choice: NDArray[np.intp], hurt: NDArray[np.bool_], weight: float
) -> dict[str, float]:
    """Return how many hurt images each attack is chosen for, times a weight."""
    counts = np.bincount(choice[hurt], minlength=len(names))
    return {name: weight * float(number) for name, number in zip(names, counts, strict=True)}
