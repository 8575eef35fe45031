"""How far found and true masks agree, image by image."""

from typing import NamedTuple

import torch
from torch import Tensor


class Overlap(NamedTuple):
    """Pixels of each image and class, int64 (N, K).

    Attributes:
        both: found and true.
        found: found.
        wanted: true.
    """

    both: Tensor
    found: Tensor
    wanted: Tensor

    @property
    def dice(self) -> Tensor:
        """2 |A ∩ B| / (|A| + |B|) of the foreground, float64 (N,); see `overlap`."""
        return _foreground(2 * self.both, self.found + self.wanted)

    @property
    def jaccard(self) -> Tensor:
        """|A ∩ B| / |A ∪ B| of the foreground, float64 (N,); see `overlap`."""
        return _foreground(self.both, self.found + self.wanted - self.both)

    @property
    def accuracy(self) -> Tensor:
        """Share of right pixels, background included, float64 (N,)."""
        return self.both.sum(1).double() / self.wanted.sum(1)


def overlap(found: Tensor, wanted: Tensor, classes: int) -> Overlap:
    """Count the pixels that two masks share.

    Scores are of each image: the mean over the classes but 0, the background, that are in either of
    its two masks. Where none is the score is 1: a rightly empty mask is right. A found value
    outside the classes, such as an abstention, is a miss of its true class and no find of another.

    Args:
        found: answers (N, H, W); other values than 0 to K - 1 are of no class.
        wanted: true classes (N, H, W).
        classes: K.
    """
    counts = []
    for number in range(classes):
        a, b = (found == number).flatten(1), (wanted == number).flatten(1)
        counts.append(torch.stack([(a & b).sum(1), a.sum(1), b.sum(1)]))
    return Overlap(*torch.stack(counts, 2))


def mean_accuracy(both: Tensor, wanted: Tensor) -> Tensor:
    """Share of each class's pixels that are found, mean over the classes that there are.

    The "mean accuracy" of Long, Shelhamer and Darrell (2015), background included.

    Args:
        both: pixels rightly found (..., K).
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
