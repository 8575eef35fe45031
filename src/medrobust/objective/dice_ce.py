"""Dice loss and cross-entropy for segmentation."""

from typing import TYPE_CHECKING

from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor
from torch.nn.functional import cross_entropy

from medrobust.model.core.victim import Victim
from medrobust.objective.core.base import Objective

if TYPE_CHECKING:
    from medrobust.data.core.base import MedicalDataModule


class DiceCE(Objective):
    """Soft Dice loss of the foreground plus cross-entropy (as in nnU-Net, Isensee et al. 2021).

    Dice is over the pixels of the whole batch, on softmax probabilities, and averaged over the
    foreground classes (all but 0); a class without a pixel in the batch adds no loss. With two
    classes this is Dice + BCE: the softmax of logits z is the sigmoid of z_1 - z_0, so the
    cross-entropy is the binary one on that difference.

    Args:
        name: name in paths and tables.
        dice_weight: factor of the Dice loss.
        ce_weight: factor of the cross-entropy.
        smooth: constant added to numerator and denominator of Dice.
    """

    def __init__(
        self,
        name: str = "dice_ce",
        *,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        smooth: float = 0.0,
    ) -> None:
        super().__init__(name)
        if min(dice_weight, ce_weight) < 0 or dice_weight + ce_weight == 0:
            raise ValueError(
                f"objective.dice_weight={dice_weight}, ce_weight={ce_weight}: "
                f"expected none negative and one positive"
            )
        self.dice_weight, self.ce_weight = dice_weight, ce_weight
        self.smooth = smooth

    def prepare(self, data: "MedicalDataModule") -> None:
        """Check that labels are masks.

        Raises:
            TypeError: the labels are not masks.
        """
        if data.task != "segmentation":
            raise TypeError(
                f"objective=dice_ce needs masks, {data.name} has {data.task} labels; "
                f"set objective=standard"
            )

    def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute the weighted sum of both, a scalar."""
        logits = victim(x)
        foreground = list(range(1, logits.shape[1]))
        dice = DiceLoss("multiclass", classes=foreground, smooth=self.smooth)(logits, y)
        return self.dice_weight * dice + self.ce_weight * cross_entropy(logits, y)
