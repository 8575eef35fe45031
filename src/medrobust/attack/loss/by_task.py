"""The loss that models of a task are trained with."""

from collections.abc import Mapping
from typing import ClassVar, Final

from torch import Tensor

from medrobust.attack.core.loss import Loss
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.retinanet import RetinaNetLoss
from medrobust.prediction import Prediction
from medrobust.task import Task, task_of

_LOSSES: Final[Mapping[Task, Loss]] = {
    "classification": CrossEntropy(),
    "segmentation": CrossEntropy(),
    "detection": RetinaNetLoss(),
}


class ByTask(Loss):
    """Cross-entropy of classes and masks, RetinaNet's loss of boxes."""

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "segmentation", "detection")

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """The loss of the task that the labels are of."""
        return _LOSSES[task_of(y)].away(prediction, y)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Likewise."""
        return _LOSSES[task_of(target)].toward(prediction, target)
