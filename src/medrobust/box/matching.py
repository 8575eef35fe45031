"""Matching of anchors and answers to true boxes."""

from typing import Final

import torch
from torch import Tensor

from medrobust.box.anchored import Anchored
from medrobust.prediction import Prediction

FOREGROUND: Final = 0.5
"""Minimum IoU of an anchor matched to a true box (RetinaNet, Lin et al. 2017, section 4.1)."""
BACKGROUND: Final = 0.4
"""IoU below which an anchor is background; between the two, the loss ignores it."""
NOTHING, BETWEEN = -1, -2  # torchvision's codes


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Compute the intersection over union of every pair of boxes of the same image.

    Args:
        first: (..., M, 4), left, top, right and bottom.
        second: (..., D, 4).

    Returns:
        (..., M, D) in [0, 1]; 0 for two boxes without area.
    """
    a, b = first.unsqueeze(-2), second.unsqueeze(-3)
    sides = (a[..., 2:].minimum(b[..., 2:]) - a[..., :2].maximum(b[..., :2])).clamp(min=0)
    both = sides.prod(-1)
    either = _area(a) + _area(b) - both
    return both / either.clamp(min=torch.finfo(both.dtype).tiny)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def match(y: Tensor, anchors: Tensor) -> Tensor:
    """Match each anchor to a true box, for all images of a batch at once.

    Equals torchvision's `Matcher` with low-quality matches, as in RetinaNet: an anchor gets the box
    of the largest IoU if that is at least `FOREGROUND`. Below it, an anchor is still matched if no
    other is closer to some box, so that small boxes count, too.

    Args:
        y: true boxes (N, M, 5).
        anchors: (A, 4) in pixels.

    Returns:
        int64 (N, A), the row of `y`, `NOTHING` or `BETWEEN`.
    """
    with torch.no_grad():
        filler = (y[..., 0] < 0).unsqueeze(2)
        quality = iou(y[..., 1:], anchors.to(y)).masked_fill(filler, -1.0)
        best, row = quality.max(1)
        closest = quality.amax(2, keepdim=True)
        forced = ((quality == closest) & (closest > 0)).any(1)
        found = row.masked_fill(best < FOREGROUND, BETWEEN).masked_fill(best < BACKGROUND, NOTHING)
        return row.where(forced, found)


def anchor_classes(y: Tensor, anchors: Tensor) -> Tensor:
    """Return the target class of each anchor, int64 (N, A), -1 where it is matched to no box."""
    rows = match(y, anchors)
    classes = y[..., 0].long().gather(1, rows.clamp(min=0))
    return classes.masked_fill(rows < 0, -1)


def share_found(prediction: Prediction, y: Tensor, *, overlap: float, score: float) -> Tensor:
    """Return the share of an image's true boxes that some answer finds.

    A box is found if an anchor predicts its class with at least `score`, at an IoU of at least
    `overlap`. Non-maximum suppression is not applied first: it cannot add a box that was missed.

    Args:
        prediction: prediction of a detector.
        y: true boxes (N, M, 5).
        overlap: IoU in (0, 1].
        score: probability in (0, 1].

    Returns:
        (N,) in [0, 1]; 1 for an image without boxes.
    """
    real = y[..., 0] >= 0
    near = iou(y[..., 1:], located(prediction).boxes.to(y)) >= overlap
    wanted = y[..., 0].long().clamp(min=0).unsqueeze(2).expand(-1, -1, prediction.logits.shape[2])
    sure = prediction.probability.gather(1, wanted) >= score
    found = ((near & sure).any(2) & real).sum(1)
    return found.float().where(real.any(1), 1.0) / real.sum(1).clamp(min=1)


def located(prediction: Prediction) -> Anchored:
    """Return the boxes of a detector's prediction.

    Raises:
        ValueError: the model is no detector.
    """
    if prediction.anchored is None:
        raise ValueError(
            f"labels are boxes, but the model answers {tuple(prediction.logits.shape)} without any:"
            " set model=retinanet"
        )
    return prediction.anchored
