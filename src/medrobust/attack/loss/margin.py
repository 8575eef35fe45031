"""The logit margin of Carlini and Wagner."""

import torch
from torch import Tensor

from medrobust.attack.core.loss import Loss, per_image
from medrobust.number import fraction
from medrobust.prediction import Prediction


class Margin(Loss):
    """Logit margin of Carlini and Wagner (2017), f_6 of their paper, maximised.

    Args:
        kappa: confidence: the margin stops counting once it exceeds `kappa`. Any size >= 0.
    """

    def __init__(self, kappa: float = 50.0) -> None:
        self.kappa = fraction(kappa, "attack.loss.kappa", high=float("1e9"))

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """min(best other logit - true logit, kappa)."""
        return per_image(lead(prediction.logits, y).neg().clamp(max=self.kappa))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """min(target logit - best other logit, kappa)."""
        return per_image(lead(prediction.logits, target).clamp(max=self.kappa))


def lead(logits: Tensor, label: Tensor) -> Tensor:
    """Logit of `label` minus the best other logit: (N,) or (N, H, W).

    Raises:
        ValueError: the model has one logit only.
    """
    if logits.shape[1] < 2:
        raise ValueError(f"a margin needs two classes, the model has {logits.shape[1]} logit")
    index = label.unsqueeze(1)
    own = logits.gather(1, index).squeeze(1)
    return own - logits.scatter(1, index, -torch.inf).amax(dim=1)
