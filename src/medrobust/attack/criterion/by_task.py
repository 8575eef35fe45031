"""The criterion of each task where the config names none."""

from collections.abc import Mapping
from typing import Final

from torch import Tensor

from medrobust.attack.core.criterion import Criterion
from medrobust.attack.criterion.boxes_lost import BoxesLost
from medrobust.attack.criterion.jaccard_below import JaccardBelow, lost_below
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.task import Task, task_of

BY_TASK: Final[Mapping[Task, type[Criterion]]] = {
    "classification": Misclassified,
    "segmentation": JaccardBelow,
    "detection": BoxesLost,
}
"""Default criterion of each task."""


def by_task(y: Tensor, own: Criterion | None = None) -> Criterion:
    """The rule for the task that labels are of; of masks at the level of the attack's own rule."""
    task = task_of(y)
    return lost_below(own) if task == "segmentation" else BY_TASK[task]()
