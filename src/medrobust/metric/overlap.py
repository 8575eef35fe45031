"""Overlap of predicted and true masks, per image."""

from typing import NamedTuple

import torch
from torch import Tensor


class Overlap(NamedTuple):
    """Pixels of each image and class, int64 (N, K).

    Attributes:
        both: pixels predicted and true.
        found: pixels predicted.
        wanted: pixels true.
    """

    both: Tensor
    found: Tensor
    wanted: Tensor

    @property
    def dice(self) -> Tensor:
        """Return 2 |A ∩ B| / (|A| + |B|) of the foreground, float64 (N,); see `overlap`."""
        return _foreground(2 * self.both, self.found + self.wanted)

    @property
    def jaccard(self) -> Tensor:
        """Return |A ∩ B| / |A ∪ B| of the foreground, float64 (N,); see `overlap`."""
        return _foreground(self.both, self.found + self.wanted - self.both)

    @property
    def accuracy(self) -> Tensor:
        """Return the share of right pixels, background included, float64 (N,)."""
        return self.both.sum(1).double() / self.wanted.sum(1)


def overlap(found: Tensor, wanted: Tensor, classes: int) -> Overlap:
    """Count the pixels that two masks share.

    An image's score is the mean over the foreground classes (all but 0) in either of its two masks,
    and 1 if there is none, so that a correctly empty mask is right. A predicted value outside the
    classes, such as an abstention, is a false negative of the true class and no false positive.

    Args:
        found: predicted classes (N, H, W); values outside 0 to K - 1 are no class.
        wanted: true classes (N, H, W).
        classes: number of classes K.
    """
    counts = []
    for number in range(classes):
        a, b = (found == number).flatten(1), (wanted == number).flatten(1)
        counts.append(torch.stack([(a & b).sum(1), a.sum(1), b.sum(1)]))
    return Overlap(*torch.stack(counts, 2))


def mean_accuracy(both: Tensor, wanted: Tensor) -> Tensor:
    """Return the recall of each class's pixels, averaged over the classes that are present.

    This is the "mean accuracy" of Long, Shelhamer and Darrell (2015), background included.

    Args:
        both: correctly predicted pixels (..., K).
        wanted: pixels of each class (..., K).

    Returns:
        float64 (...,) in [0, 1].
    """
    there = wanted > 0
    return (both.double() / wanted.clamp(min=1)).sum(-1) / there.sum(-1)


def _foreground(top: Tensor, bottom: Tensor) -> Tensor:
    top, bottom = top[:, 1:].double(), bottom[:, 1:]
    there = (bottom > 0).sum(1)
    mean = (top / bottom.clamp(min=1)).sum(1) / there.clamp(min=1)
    return mean.masked_fill(there == 0, 1.0)
