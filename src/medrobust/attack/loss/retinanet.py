"""The loss of a detector."""

from typing import ClassVar

from torch import Tensor

from medrobust.attack.core.loss import Loss
from medrobust.box.loss import retinanet_loss
from medrobust.number import fraction
from medrobust.prediction import Prediction
from medrobust.task import Task


class RetinaNetLoss(Loss):
    """RetinaNet's loss: focal loss of the classes plus L1 of the boxes; see `retinanet_loss`.

    Anchors are matched to the true boxes, never to what is answered, so every point of an attack
    is judged by the same anchors.

    Args:
        class_weight: factor of the focal loss, >= 0.
        box_weight: factor of the boxes' loss, >= 0; 0 leaves the boxes where they are.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("detection",)

    def __init__(self, class_weight: float = 1.0, box_weight: float = 1.0) -> None:
        self.class_weight = fraction(class_weight, "attack.loss.class_weight", high=1e4)
        self.box_weight = fraction(box_weight, "attack.loss.box_weight", high=1e4)

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """The loss of the true boxes (N, M, 5)."""
        return retinanet_loss(
            prediction, y, class_weight=self.class_weight, box_weight=self.box_weight
        )

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Minus the loss of the target boxes (N, M, 5)."""
        return -self.away(prediction, target)
