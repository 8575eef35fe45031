"""When an attack has reached its aim."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

from torch import Tensor

from medrobust.box.keep import SCORE, SHOWN
from medrobust.box.matching import anchor_classes, located, share_found
from medrobust.configured import Configured
from medrobust.metric.overlap import overlap
from medrobust.number import fraction
from medrobust.prediction import Prediction
from medrobust.task import Task, task_of


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

    The index is that of the metric (`metric.overlap`): the mean over the classes but 0 that are in
    either mask, 1 where none is; a pixel that a defense abstains from is a miss.

    Args:
        level: in (0, 1].
    """

    def __init__(self, level: float = 0.5) -> None:
        self.level = fraction(level, "success.level", above=True)

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Jaccard(prediction, y) < level; `y` (N, H, W)."""
        return _jaccard(prediction, y) < self.level

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Jaccard(prediction, target) >= level; `target` (N, H, W)."""
        return _jaccard(prediction, target) >= self.level


class BoxesLost(Success):
    """Detection: fewer of the true boxes are found than a level.

    Found is a box that is answered with its class, at an IoU and a score; see `share_found`.
    Answers where there is nothing do not count.

    Args:
        level: share of the boxes, in (0, 1].
        overlap: IoU of an answer with the box, in (0, 1].
        score: of the answer, in (0, 1].
    """

    def __init__(self, level: float = 0.5, overlap: float = 0.5, score: float = SHOWN) -> None:
        self.level = fraction(level, "success.level", above=True)
        self.overlap = fraction(overlap, "success.overlap", above=True)
        self.score = fraction(score, "success.score", above=True)

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """The share of the true boxes (N, M, 5) that are found is below the level."""
        return share_found(prediction, y, overlap=self.overlap, score=self.score) < self.level

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The share of the target boxes (N, M, 5) that are found has reached the level."""
        return ~self.away(prediction, target)


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


class EveryAnchor(Success):
    """Detection: no anchor of a true box answers its class any more (Xie et al. 2017).

    An anchor answers a class that leads there with at least the score of an answer that is kept.
    """

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """No anchor is right about the true boxes (N, M, 5)."""
        return ~right_anchors(prediction, anchor_classes(y, located(prediction).anchors)).any(1)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Every anchor of a target box answers its class."""
        classes = anchor_classes(target, located(prediction).anchors)
        return (right_anchors(prediction, classes) | (classes < 0)).all(1)


def right_anchors(prediction: Prediction, classes: Tensor) -> Tensor:
    """Which anchors answer the class that they should: bool (N, A).

    Args:
        prediction: of a detector.
        classes: int64 (N, A), -1 where an anchor answers for no box.
    """
    own = prediction.logits.gather(1, classes.clamp(min=0).unsqueeze(1)).squeeze(1)
    return (classes >= 0) & (prediction.label == classes) & (own.sigmoid() >= SCORE)


BY_TASK: Final[Mapping[Task, type[Success]]] = {
    "classification": Misclassified,
    "segmentation": JaccardBelow,
    "detection": BoxesLost,
}
"""What counts as a success where nothing else is said."""


def by_task(y: Tensor, own: Success | None = None) -> Success:
    """The rule for the task that labels are of; of masks at the level of the attack's own rule."""
    task = task_of(y)
    return lost_below(own) if task == "segmentation" else BY_TASK[task]()


def accepted(prediction: Prediction) -> Tensor:
    """Whether the defense lets the images pass: bool (N,).

    Raises:
        ValueError: the prediction tells nothing of it.
    """
    if prediction.score is not None and prediction.threshold is not None:
        return prediction.score <= prediction.threshold  # one that is no number does not pass
    if prediction.abstain is not None and prediction.abstain.ndim == 1:  # of images, not of pixels
        return ~prediction.abstain
    raise ValueError(
        "an attack that wants to pass a detector sees none: set threat=adaptive and a detector as "
        "the defense"
    )


def lost_below(success: Success | None) -> JaccardBelow:
    """The level at which a segmented image counts as lost: the attack's own, else the default."""
    return success if isinstance(success, JaccardBelow) else JaccardBelow()


def _jaccard(prediction: Prediction, wanted: Tensor) -> Tensor:
    return overlap(prediction.answer, wanted, prediction.logits.shape[1]).jaccard
