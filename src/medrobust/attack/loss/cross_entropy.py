"""Cross-entropy."""

from torch import Tensor
from torch.nn import functional as F

from medrobust.attack.core.loss import Loss, per_image
from medrobust.prediction import Prediction


class CrossEntropy(Loss):
    """Cross-entropy, the loss of FGSM and PGD (Goodfellow et al. 2015; Madry et al. 2018)."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Cross-entropy to the true class."""
        return per_image(F.cross_entropy(prediction.logits, y, reduction="none"))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Minus the cross-entropy to the target class."""
        return -self.away(prediction, target)
