"""Cross-entropy on clean images."""

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import cross_entropy

from medrobust.model.core.victim import Victim
from medrobust.objective.core.balance import class_weights
from medrobust.objective.core.base import Objective

if TYPE_CHECKING:
    from medrobust.data.core.base import MedicalDataModule


class Standard(Objective):
    """Cross-entropy, over images or over pixels.

    Args:
        name: name in paths and tables.
        class_balanced: weight classes by inverse frequency in the training split.
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
        if self.class_balanced:
            self.weight = class_weights(data)

    def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute the mean cross-entropy; with weights the weighted mean Σ w l / Σ w."""
        return cross_entropy(victim(x), y, weight=self.weight, label_smoothing=self.label_smoothing)
