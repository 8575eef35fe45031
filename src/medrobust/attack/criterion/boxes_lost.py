"""Too few of the true boxes found."""

from torch import Tensor

from medrobust.attack.core.criterion import Criterion
from medrobust.box.keep import SHOWN
from medrobust.box.matching import share_found
from medrobust.number import fraction
from medrobust.prediction import Prediction


class BoxesLost(Criterion):
    """Detection: fewer of the true boxes are found than a level.

    Found is a box that is answered with its class, at an IoU and a score; see `share_found`.
    Answers where there is nothing do not count.

    Args:
        level: share of the boxes, in (0, 1].
        overlap: IoU of an answer with the box, in (0, 1].
        score: of the answer, in (0, 1].
    """

    def __init__(self, level: float = 0.5, overlap: float = 0.5, score: float = SHOWN) -> None:
        self.level = fraction(level, "attack.criterion.level", above=True)
        self.overlap = fraction(overlap, "attack.criterion.overlap", above=True)
        self.score = fraction(score, "attack.criterion.score", above=True)

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """The share of the true boxes (N, M, 5) that are found is below the level."""
        return share_found(prediction, y, overlap=self.overlap, score=self.score) < self.level

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The share of the target boxes (N, M, 5) that are found has reached the level."""
        return ~self.away(prediction, target)
