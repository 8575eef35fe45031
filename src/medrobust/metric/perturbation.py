"""How rough an iterated attack's perturbation is, and how steady its course (SMIA, table 1)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def variance(clean: Tensor, adversarial: Tensor, eps: float) -> Tensor:
    """Variance of each perturbation over its pixels and channels, on eps's own scale.

    The perturbation is divided by eps first, so that the value lies in [0, 1] for an L∞ attack,
    1 where half the numbers are +eps and half -eps. Qi et al. 2021 rescale too, since their
    printed values exceed eps², but do not say how.

    Args:
        clean: images (N, C, H, W).
        adversarial: the same images, attacked.
        eps: L∞ radius in pixel units, > 0.

    Returns:
        float64 (N,).
    """
    scaled = (adversarial.double() - clean.double()) / eps
    return scaled.flatten(1).var(dim=1, correction=0)


def positive_cosines(points: Sequence[Tensor]) -> Tensor:
    """Share of consecutive steps that point in like directions: cosine above zero.

    Args:
        points: where the attack stood, in order; (N, C, H, W) each.

    Returns:
        float64 (N,) in [0, 1]. Pairs with a step of length zero have no angle and are left out;
        NaN for an image without any pair.

    Raises:
        ValueError: fewer than three points, which is no pair of steps.
    """
    if len(points) < 3:
        raise ValueError(f"{len(points)} points make no pair of steps; expected at least 3")
    path = torch.stack([point.double().flatten(1) for point in points])
    steps = path.diff(dim=0)
    moved = steps.abs().amax(dim=2) > 0
    pairs = moved[1:] & moved[:-1]
    alike = (F.cosine_similarity(steps[1:], steps[:-1], dim=2) > 0) & pairs
    return alike.sum(0).double() / pairs.sum(0)
