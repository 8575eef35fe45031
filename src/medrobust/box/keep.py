"""The answers of a detector that are kept of an image: sure, without doubles, a fixed number."""

from typing import Final, NamedTuple

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from medrobust.box.matching import located
from medrobust.prediction import Prediction

SCORE: Final = 0.05
"""Least score of an answer (torchvision's RetinaNet)."""
SHOWN: Final = 0.3
"""Least score of an answer that a person is shown; ours, since no threshold is published."""
OVERLAP: Final = 0.5
"""IoU from which the weaker of two answers of one class is dropped."""
CANDIDATES: Final = 1000  # of the highest scores, per image
MOST: Final = 100  # answers per image, as COCO counts them


class Kept(NamedTuple):
    """Answers for N images, the surest first; the rest is filled up.

    Attributes:
        label: int64 (N, MOST), -1 where nothing is answered.
        logit: (N, MOST), -inf there; it ranks, since sure scores are all 1 in float32.
        boxes: (N, MOST, 4), left, top, right and bottom in pixels, 0 there.
    """

    label: Tensor
    logit: Tensor
    boxes: Tensor

    @property
    def score(self) -> Tensor:
        """(N, MOST) in [0, 1], 0 where nothing is answered."""
        return self.logit.sigmoid()


@torch.no_grad()
def kept(prediction: Prediction) -> Kept:
    """What is left of a dense answer after the score threshold and non-maximum suppression.

    Candidates are the highest scores over all anchors and classes. Suppression is per image and
    class, of all images at once; in float64, so that it is the same in any batch.
    """
    logits = prediction.logits.float()
    count, classes, anchors = logits.shape
    logit, place = logits.flatten(1).topk(min(CANDIDATES, classes * anchors), dim=1)
    boxes = located(prediction).boxes.float().gather(1, _four(place % anchors))
    label = place // anchors
    image = torch.arange(count, device=logits.device).unsqueeze(1).expand_as(label)
    sure = logit.sigmoid() >= SCORE
    group = (image * classes + label)[sure]
    rows, columns = sure.nonzero(as_tuple=True)
    left = batched_nms(boxes[sure].double(), logit[sure].double(), group, OVERLAP)
    stays = torch.zeros_like(sure)
    stays[rows[left], columns[left]] = True
    # Candidates are sorted by logit: the rank among those that stay is their place in the answer.
    rank = stays.cumsum(1) - 1
    stays &= rank < MOST
    found = Kept(
        label.new_full((count, MOST), -1),
        logit.new_full((count, MOST), -torch.inf),
        boxes.new_zeros(count, MOST, 4),
    )
    at = (image[stays], rank[stays])
    found.label[at], found.logit[at], found.boxes[at] = label[stays], logit[stays], boxes[stays]
    return found


def _four(index: Tensor) -> Tensor:
    return index.unsqueeze(2).expand(-1, -1, 4)
