"""A wrong answer that a detector accepts."""

from torch import Tensor

from medrobust.attack.core.criterion import Criterion
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.prediction import Prediction


class Undetected(Criterion):
    """The wrong answer passes the detector, too; an image that is refused is no success.

    Args:
        answer: when the answer alone is a success; None = another class, or the target class.
    """

    def __init__(self, answer: Criterion | None = None) -> None:
        self.answer = answer or Misclassified()

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """`answer` holds, and the image is accepted."""
        return self.answer.away(prediction, y) & accepted(prediction)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """`answer` holds, and the image is accepted."""
        return self.answer.toward(prediction, target) & accepted(prediction)


def accepted(prediction: Prediction) -> Tensor:
    """Return which images the defense accepts, bool (N,).

    Raises:
        ValueError: the prediction has neither score nor abstention.
    """
    if prediction.score is not None and prediction.threshold is not None:
        return prediction.score <= prediction.threshold  # one that is no number does not pass
    if prediction.abstain is not None and prediction.abstain.ndim == 1:  # of images, not of pixels
        return ~prediction.abstain
    raise ValueError(
        "an attack that wants to pass a detector sees none: set threat=adaptive and a detector as "
        "the defense"
    )
