"""No anchor right any more."""

from torch import Tensor

from medrobust.attack.core.criterion import Criterion
from medrobust.box.keep import SCORE
from medrobust.box.matching import anchor_classes, located
from medrobust.prediction import Prediction


class EveryAnchor(Criterion):
    """Detection: no anchor of a true box predicts its class any more (Xie et al. 2017).

    An anchor predicts a class that leads there with at least the score of an answer that is kept.
    """

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """No anchor is right about the true boxes (N, M, 5)."""
        return ~right_anchors(prediction, anchor_classes(y, located(prediction).anchors)).any(1)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Every anchor of a target box predicts its class."""
        classes = anchor_classes(target, located(prediction).anchors)
        return (right_anchors(prediction, classes) | (classes < 0)).all(1)


def right_anchors(prediction: Prediction, classes: Tensor) -> Tensor:
    """Return which anchors predict the class that they should, bool (N, A).

    Args:
        prediction: of a detector.
        classes: int64 (N, A), -1 where an anchor answers for no box.
    """
    own = prediction.logits.gather(1, classes.clamp(min=0).unsqueeze(1)).squeeze(1)
    return (classes >= 0) & (prediction.label == classes) & (own.sigmoid() >= SCORE)
