"""Cross-entropy on clean images."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from medrobust.model.victim import Victim
from medrobust.objective.base import Objective

if TYPE_CHECKING:
    from medrobust.data.base import MedicalDataModule


def balanced_weights(counts: Tensor) -> Tensor:
    """Class weights w_k = N / (K n_k), so that every class counts alike and Σ n_k w_k = N.

    Args:
        counts: n_k (K,), training images (or pixels) per class.

    Returns:
        w (K,) float32; 0 for a class that is not there.
    """
    counts = counts.double()
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp(min=1))
    return (weights * present).float()


class Standard(Objective):
    """Cross-entropy, over images or over pixels.

    Args:
        name: name in paths and tables.
        class_balanced: weigh classes by inverse frequency in the training split.
        label_smoothing: share of the target spread over all classes, in [0, 1].
    """

    weight: Tensor | None

    def __init__(
        self,
        name: str = "standard",
        *,
        class_balanced: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(name)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"objective.label_smoothing={label_smoothing}, expected 0 to 1")
        self.class_balanced = class_balanced
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", None, persistent=False)

    def prepare(self, data: "MedicalDataModule") -> None:
        """Count the classes of the training split, if they are to be balanced."""
        if not self.class_balanced:
            return
        if data.task == "classification":
            counts = torch.bincount(data.labels("train"), minlength=data.num_classes)
        else:
            samples = data.dataset("train")
            counts = torch.zeros(data.num_classes, dtype=torch.int64)
            for index in range(len(samples)):
                mask = samples[index].label.flatten()
                counts += torch.bincount(mask, minlength=data.num_classes)
        self.weight = balanced_weights(counts)

    def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        """Mean cross-entropy; with weights the weighted mean Σ w l / Σ w."""
        return cross_entropy(victim(x), y, weight=self.weight, label_smoothing=self.label_smoothing)
