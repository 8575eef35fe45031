"""The loss of Dense Adversary Generation: logit gaps over the pixels that are still right."""

import copy
from typing import TYPE_CHECKING, Self

from torch import Tensor

from medrobust.attack.objective.base import Objective, per_image
from medrobust.attack.objective.margin import lead
from medrobust.attack.target import RandomClass, Target
from medrobust.prediction import Prediction

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate


class ActivePixels(Objective):
    """Sum over the active pixels of (logit of an adversarial class - logit of the true class).

    Xie et al. 2017, "Adversarial Examples for Semantic Segmentation and Object Detection", eq. 2
    and 3, divided by the number of pixels. A pixel is active while its answer is the true class,
    so the loss is never positive, and zero once no pixel is right. Segmentation only.

    Targeted, a pixel is active until its answer is the target, and the gap is to the best other
    class, since the goal holds no true classes then.

    Args:
        labels: rule that gives each pixel its adversarial class when untargeted. None =
            `RandomClass`, by which all pixels of one class in one image get one other class, the
            paper's choice; with two classes it is the other one.
    """

    def __init__(self, labels: Target | None = None) -> None:
        self.labels = labels or RandomClass()
        self.adversarial: Tensor | None = None

    def bind(
        self, surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> "ActivePixels":
        """A copy that holds the adversarial classes of the batch, (N, H, W).

        Raises:
            ValueError: the task has one label per image.
        """
        if y.ndim != 3:
            raise ValueError(
                f"attack=dag and its objective need masks (N, H, W), this task has labels "
                f"{tuple(y.shape)}: use another attack such as attack=pgd"
            )
        bound = copy.copy(self)
        if not targeted:
            bound.adversarial = self.labels(surrogate(x, seeds).logits, y, seeds)
        return bound

    def at(self, index: Tensor) -> Self:
        """The adversarial classes of some of the images."""
        part = copy.copy(self)
        part.adversarial = None if self.adversarial is None else self.adversarial[index]
        return part

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Gap of the pixels that are still `y`, mean over all pixels.

        Raises:
            RuntimeError: the objective is not bound to a batch.
        """
        if self.adversarial is None:
            raise RuntimeError("ActivePixels has no adversarial classes: call bind first")
        logits = prediction.logits
        pair = logits.gather(1, self.adversarial.unsqueeze(1)) - logits.gather(1, y.unsqueeze(1))
        return per_image(pair.squeeze(1).where(prediction.label == y, 0.0))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Gap of the pixels that are not `target` yet, mean over all pixels."""
        gap = lead(prediction.logits, target)
        return per_image(gap.where(prediction.label != target, 0.0))
