"""RetinaNet's loss, per image."""

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.box.anchored import coder
from medrobust.box.matching import BETWEEN, located, match
from medrobust.prediction import Prediction


def retinanet_loss(
    prediction: Prediction, y: Tensor, *, class_weight: float = 1.0, box_weight: float = 1.0
) -> Tensor:
    """Compute the focal loss of the classes plus the L1 loss of the offsets (Lin et al. 2017).

    Per image, both are sums over anchors divided by the number of anchors that are matched to a
    true box; alpha 0.25, gamma 2. The mean over a batch is torchvision's RetinaNet loss.

    Args:
        prediction: prediction of a detector.
        y: true boxes (N, M, 5).
        class_weight: factor of the focal loss.
        box_weight: factor of the offsets' loss.

    Returns:
        (N,), >= 0.
    """
    boxes = located(prediction)
    rows = match(y, boxes.anchors)
    mine = rows >= 0
    count = mine.sum(1).clamp(min=1)
    truth = y.gather(1, rows.clamp(min=0).unsqueeze(2).expand(-1, -1, 5))  # (N, A, 5)
    logits = prediction.logits.transpose(1, 2)
    wanted = torch.zeros_like(logits).scatter_(
        2, truth[..., :1].long().clamp(min=0), mine.to(logits.dtype).unsqueeze(2)
    )
    from torchvision.ops import sigmoid_focal_loss  # heavy

    focal = sigmoid_focal_loss(logits, wanted).sum(2).masked_fill(rows == BETWEEN, 0.0).sum(1)
    image, anchor = mine.nonzero(as_tuple=True)
    goal = coder().encode_single(truth[image, anchor, 1:], boxes.anchors[anchor].to(y))
    error = F.l1_loss(boxes.offsets[image, anchor], goal.to(logits.dtype), reduction="none")
    moved = torch.zeros_like(focal).index_add(0, image, error.sum(1).to(focal.dtype))
    return (class_weight * focal + box_weight * moved) / count
