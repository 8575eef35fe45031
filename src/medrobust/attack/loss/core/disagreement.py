"""Disagreement of two predictions: SMIA's stabilisation."""

from torch import Tensor
from torch.nn import functional as F

from medrobust.attack.core.loss import per_image
from medrobust.box.matching import located, match
from medrobust.prediction import Prediction


def disagreement(prediction: Prediction, wanted: Prediction, y: Tensor) -> Tensor:
    """Return the cross-entropy of a prediction to the class probabilities of another.

    Of a classifier over its classes; of a segmenter per pixel, then the mean. Of a detector it is
    binary, summed over anchors and classes and divided by the number of anchors that answer for a
    true box, as the detector's own loss is; boxes play no part.

    Args:
        prediction: whose answer is to move.
        wanted: the other answer.
        y: true labels; of a detector they say how many anchors count.

    Returns:
        (N,), >= 0.
    """
    target = wanted.probability
    if prediction.anchored is None:
        return per_image(F.cross_entropy(prediction.logits, target, reduction="none"))
    count = (match(y, located(prediction).anchors) >= 0).sum(1).clamp(min=1)
    loss = F.binary_cross_entropy_with_logits(prediction.logits, target, reduction="none")
    return loss.flatten(1).sum(1) / count
