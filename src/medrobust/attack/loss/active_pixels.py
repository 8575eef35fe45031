"""The loss of Dense Adversary Generation: logit gaps over the places that are still right."""

import copy
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from medrobust.attack.core.loss import Loss, per_image
from medrobust.attack.core.target import Target
from medrobust.attack.criterion.every_anchor import right_anchors
from medrobust.attack.loss.margin import lead
from medrobust.attack.target.random_class import RandomClass
from medrobust.box.matching import anchor_classes, located
from medrobust.prediction import Prediction
from medrobust.task import Task, task_of

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate


class ActivePixels(Loss):
    """Sum over the active pixels of (logit of an adversarial class - logit of the true class).

    Xie et al. 2017, "Adversarial Examples for Semantic Segmentation and Object Detection", eq. 2
    and 3, divided by the number of pixels. A pixel is active while its answer is the true class,
    so the loss is never positive, and zero once no pixel is right.

    For detection the places are the anchors that answer for a true box (IoU 0.5, as in training),
    and the loss is divided by their number. Xie et al. take a proposal network's boxes and raise
    its suppression threshold so that there are enough of them; a dense detector answers at every
    anchor, so no proposals are needed. An anchor is active while the true class leads there with
    a score that is kept; `EveryAnchor` says when none is.

    Targeted, a pixel is active until its answer is the target, and the gap is to the best other
    class, since the goal holds no true classes then.

    Args:
        labels: rule that gives each pixel its adversarial class when untargeted. None =
            `RandomClass`, by which all pixels of one class in one image get one other class, the
            paper's choice; with two classes it is the other one.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("segmentation", "detection")

    def __init__(self, labels: Target | None = None) -> None:
        self.labels = labels or RandomClass()
        self.adversarial: Tensor | None = None
        self.true: Tensor | None = None  # of the anchors; a segmenter's are the mask

    def bind(
        self, surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> "ActivePixels":
        """A copy that holds the adversarial classes of the batch, (N, H, W) or (N, A)."""
        bound = copy.copy(self)
        if targeted:
            return bound
        seen = surrogate(x, seeds)
        if task_of(y) == "detection":
            bound.true = anchor_classes(y, located(seen).anchors)
            y = bound.true.clamp(min=0)  # what stands for no box is never active
        bound.adversarial = self.labels(seen.logits, y, seeds)
        return bound

    def at(self, index: Tensor) -> Self:
        """The adversarial classes of some of the images."""
        part = copy.copy(self)
        part.adversarial = None if self.adversarial is None else self.adversarial[index]
        part.true = None if self.true is None else self.true[index]
        return part

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Gap of the places that are still right, mean over all pixels, or matched anchors.

        Raises:
            RuntimeError: the loss is not bound to a batch.
        """
        if self.adversarial is None:
            raise RuntimeError("ActivePixels has no adversarial classes: call bind first")
        if self.true is not None:
            return self._anchors(prediction, self.true, self.adversarial)
        logits = prediction.logits
        pair = logits.gather(1, self.adversarial.unsqueeze(1)) - logits.gather(1, y.unsqueeze(1))
        return per_image(pair.squeeze(1).where(prediction.label == y, 0.0))

    @staticmethod
    def _anchors(prediction: Prediction, true: Tensor, adversarial: Tensor) -> Tensor:
        places = torch.stack([adversarial, true.clamp(min=0)], 1)
        other, own = prediction.logits.gather(1, places).unbind(1)
        gap = (other - own).where(right_anchors(prediction, true), 0.0)
        return gap.sum(1) / (true >= 0).sum(1).clamp(min=1)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Gap of the pixels that are not `target` yet, mean over all pixels."""
        gap = lead(prediction.logits, target)
        return per_image(gap.where(prediction.label != target, 0.0))
