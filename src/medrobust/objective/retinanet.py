"""RetinaNet's loss on clean images."""

from typing import ClassVar

from torch import Tensor

from medrobust.box.loss import retinanet_loss
from medrobust.model.core.victim import Victim
from medrobust.objective.core.base import Objective
from medrobust.task import Task


class RetinaNetObjective(Objective):
    """Focal loss of the classes plus L1 loss of the box offsets; see `retinanet_loss`.

    Args:
        name: name in paths and tables.
        class_weight: factor of the focal loss.
        box_weight: factor of the offsets' loss.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("detection",)

    def __init__(
        self, name: str = "retinanet", *, class_weight: float = 1.0, box_weight: float = 1.0
    ) -> None:
        super().__init__(name)
        if min(class_weight, box_weight) < 0 or class_weight + box_weight == 0:
            raise ValueError(
                f"objective.class_weight={class_weight}, box_weight={box_weight}: "
                f"expected none negative and one positive"
            )
        self.class_weight, self.box_weight = class_weight, box_weight

    def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute the mean over the images."""
        return retinanet_loss(
            victim.predict(x), y, class_weight=self.class_weight, box_weight=self.box_weight
        ).mean()
