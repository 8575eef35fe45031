"""When an attack has reached its aim."""

from abc import ABC, abstractmethod

from torch import Tensor

from medrobust.number import fraction
from medrobust.prediction import Prediction
from medrobust.settings import Configured


class Success(Configured, ABC):
    """Decides, image by image, whether the attack has won."""

    @abstractmethod
    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Untargeted: bool (N,), True where the answer is no longer `y`."""

    @abstractmethod
    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Targeted: bool (N,), True where the answer has become `target`."""


class Misclassified(Success):
    """Classification: another class, or the target class."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """The predicted class differs from `y` (N,)."""
        return prediction.label != y

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The predicted class is `target` (N,)."""
        return prediction.label == target


class JaccardBelow(Success):
    """Segmentation: the foreground's Jaccard index has fallen below a level.

    The foreground is every class but 0. Where neither mask has foreground the index is 1.

    Args:
        level: in (0, 1].
    """

    def __init__(self, level: float = 0.5) -> None:
        self.level = fraction(level, "success.level", above=True)

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Jaccard(prediction, y) < level; `y` (N, H, W)."""
        return _jaccard(prediction.label, y) < self.level

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Jaccard(prediction, target) >= level; `target` (N, H, W)."""
        return _jaccard(prediction.label, target) >= self.level


class Undetected(Success):
    """The wrong answer passes the detector, too; an image that is refused is no success.

    Args:
        answer: when the answer alone is a success; None = another class, or the target class.
    """

    def __init__(self, answer: Success | None = None) -> None:
        self.answer = answer or Misclassified()

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """`answer` holds, and the image is accepted."""
        return self.answer.away(prediction, y) & accepted(prediction)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """`answer` holds, and the image is accepted."""
        return self.answer.toward(prediction, target) & accepted(prediction)


class EveryPixel(Success):
    """Segmentation: no pixel, background included, is right any more (Xie et al. 2017)."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """No pixel's class is that of `y` (N, H, W)."""
        return (prediction.label != y).flatten(1).all(1)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Every pixel's class is that of `target` (N, H, W)."""
        return (prediction.label == target).flatten(1).all(1)


def accepted(prediction: Prediction) -> Tensor:
    """Whether the defense lets the images pass: bool (N,).

    Raises:
        ValueError: the prediction tells nothing of it.
    """
    if prediction.score is not None and prediction.threshold is not None:
        return prediction.score <= prediction.threshold  # one that is no number does not pass
    if prediction.abstain is not None:
        return ~prediction.abstain
    raise ValueError(
        "an attack that wants to pass a detector sees none: set threat=adaptive and a detector as "
        "the defense"
    )


def _jaccard(found: Tensor, wanted: Tensor) -> Tensor:
    same = ((found == wanted) & (wanted > 0)).flatten(1).sum(1)
    either = ((found > 0) | (wanted > 0)).flatten(1).sum(1)
    return same.float().where(either > 0, 1.0) / either.clamp(min=1)
