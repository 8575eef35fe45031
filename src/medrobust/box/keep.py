"""Post-processing of a detector's answers: score threshold, non-maximum suppression, top-k."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from medrobust.box.matching import located
from medrobust.prediction import Prediction

SCORE: Final = 0.05
"""Minimum score of an answer (torchvision's RetinaNet)."""
SHOWN: Final = 0.3
"""Minimum score of an answer that a person is shown; ours, since no threshold is published."""
OVERLAP: Final = 0.5
"""IoU at which non-maximum suppression drops the lower-scored answer of a class."""
CANDIDATES: Final = 1000  # top-k before suppression, per image
MOST: Final = 100  # answers per image, as in COCO's evaluation


class Kept(NamedTuple):
    """Answers for N images, highest score first, padded to `MOST`.

    Attributes:
        label: int64 (N, MOST), -1 in padding.
        logit: (N, MOST), -inf in padding; ranks the answers, since high scores saturate at 1 in
            float32.
        boxes: (N, MOST, 4), left, top, right and bottom in pixels, 0 in padding.
    """

    label: Tensor
    logit: Tensor
    boxes: Tensor

    @property
    def score(self) -> Tensor:
        """Return the scores, (N, MOST) in [0, 1], 0 in padding."""
        return self.logit.sigmoid()


@torch.no_grad()
def kept(prediction: Prediction) -> Kept:
    """Apply the score threshold and non-maximum suppression to a dense prediction.

    Candidates are the top-k scores over all anchors and classes. Suppression is per image and
    class, batched over images, and in float64, so that it does not depend on the batch.
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
    from torchvision.ops import batched_nms  # heavy

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
