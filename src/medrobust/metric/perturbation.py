"""Variance of perturbations, and cosine of an attack's consecutive steps (SMIA, tables 1 and 6)."""

import numpy as np
import torch
from torch import Tensor

from medrobust.metric.interval import bootstrap, counted_bootstrap, weighted


def variance(clean: Tensor, adversarial: Tensor, eps: float) -> Tensor:
    """Compute the variance of each perturbation over pixels and channels, in units of eps.

    The perturbation is divided by eps first, so that the value lies in [0, 1] for an L∞ attack,
    with 1 if half the numbers are +eps and half -eps. Qi et al. 2021 rescale too, since their
    printed values exceed eps², but do not state how.

    Args:
        clean: images (N, C, H, W).
        adversarial: the same images, attacked.
        eps: L∞ radius in pixel units, > 0.

    Returns:
        float64 (N,).
    """
    scaled = (adversarial.double() - clean.double()) / eps
    return scaled.flatten(1).var(dim=1, correction=0)


class Course:
    """Counts the consecutive steps of an iterated attack that point in like directions.

    Two steps are alike if their cosine is positive. Pairs with a step of length zero have no angle
    and are left out; steps of different restarts are no pair. It is a `Watcher` of `Iterated`.

    Qi et al. 2021 print the share of "consecutive perturbations" with a positive cosine and do not
    state whether a perturbation is a step or the accumulated sum. Ours is a step: accumulated sums
    of successive steps are nearly equal, so their cosine is always positive.

    Args:
        count: number of images N of the batch.

    Attributes:
        alike: int64 (N,), pairs with a positive cosine.
        pairs: int64 (N,), pairs.
    """

    def __init__(self, count: int) -> None:
        self.alike = torch.zeros(count, dtype=torch.int64)
        self.pairs = torch.zeros(count, dtype=torch.int64)
        self._last = torch.empty(0)

    def __call__(self, rows: Tensor, step: int, before: Tensor, after: Tensor) -> None:
        """Compare a step with the previous one."""
        move = (after - before).flatten(1)
        if step == 0:
            self._last = move.new_zeros(len(self.pairs), move.shape[1])
        last = self._last[rows]
        # The sign of the dot product; a zero step gives 0, so only its pair must be left out.
        there = last.ne(0).any(1) & move.ne(0).any(1)
        alike = there & ((last * move).sum(1, dtype=torch.float64) > 0)
        places = rows.cpu()
        self.pairs[places] += there.cpu()
        self.alike[places] += alike.cpu()
        self._last[rows] = move

    @property
    def counts(self) -> Tensor:
        """Return `alike` and `pairs`, int64 (N, 2)."""
        return torch.stack([self.alike, self.pairs], dim=1)


def measure_perturbation(
    clean: Tensor,
    adversarial: Tensor,
    eps: float | None,
    course: Tensor | None,
    *,
    seed: int,
    groups: np.ndarray | None = None,
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Compute `perturbation_variance` and `perturbation_cosine` of an adversarial set.

    Args:
        clean: images (N, C, H, W).
        adversarial: the same images, attacked.
        eps: L∞ radius of the attack; None without one, and then there is no variance.
        course: int64 (N, 2), `alike` and `pairs` of a `Course`; None if the attack is not iterated.
            The share is over all pairs of all images.
        seed: seed of the bootstrap over images.
        groups: (N,) group of each image, to draw whole groups; None for independent images.

    Returns:
        Values and intervals by name, without undefined ones.
    """
    values: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    if eps is not None:
        rough = variance(clean, adversarial, eps).numpy()
        values["perturbation_variance"] = float(rough.mean())
        if groups is None:
            interval = bootstrap(lambda i: float(rough[i].mean()), len(rough), seed=seed)
        else:
            whole = weighted(torch.from_numpy(rough))
            interval = counted_bootstrap(whole, len(rough), seed=seed, groups=groups)
        intervals["perturbation_variance"] = interval
    if course is not None and course[:, 1].sum() > 0:
        counts = course.double().numpy()

        def share(chosen: np.ndarray) -> float:
            alike, pairs = counts[chosen].sum(0)
            return float(alike / pairs) if pairs else float("nan")

        values["perturbation_cosine"] = share(np.arange(len(counts)))
        if groups is None:
            interval = bootstrap(share, len(counts), seed=seed)
        else:
            whole = weighted(course[:, 0], course[:, 1])
            interval = counted_bootstrap(whole, len(counts), seed=seed, groups=groups)
        intervals["perturbation_cosine"] = interval
    return values, intervals
