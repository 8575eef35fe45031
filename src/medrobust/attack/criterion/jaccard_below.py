"""A Jaccard index below a level."""

from torch import Tensor

from medrobust.attack.core.criterion import Criterion
from medrobust.metric.overlap import overlap
from medrobust.number import fraction
from medrobust.prediction import Prediction


class JaccardBelow(Criterion):
    """Segmentation: the foreground's Jaccard index has fallen below a level.

    The index is that of the metric (`metric.overlap`): the mean over the classes but 0 that are in
    either mask, 1 where none is; a pixel that a defense abstains from is a miss.

    Args:
        level: in (0, 1].
    """

    def __init__(self, level: float = 0.5) -> None:
        self.level = fraction(level, "attack.criterion.level", above=True)

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Jaccard(prediction, y) < level; `y` (N, H, W)."""
        return _jaccard(prediction, y) < self.level

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Jaccard(prediction, target) >= level; `target` (N, H, W)."""
        return _jaccard(prediction, target) >= self.level


def lost_below(criterion: Criterion | None) -> JaccardBelow:
    """The level at which a segmented image counts as lost: the attack's own, else the default."""
    return criterion if isinstance(criterion, JaccardBelow) else JaccardBelow()


def _jaccard(prediction: Prediction, wanted: Tensor) -> Tensor:
    return overlap(prediction.answer, wanted, prediction.logits.shape[1]).jaccard
