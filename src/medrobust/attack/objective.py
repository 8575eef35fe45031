"""What an attack maximises. One file for the losses: they are one idea with two directions."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.number import fraction
from medrobust.prediction import Prediction
from medrobust.settings import Configured


def per_image(values: Tensor) -> Tensor:
    """Mean over pixels: (N, ...) -> (N,)."""
    return values if values.ndim == 1 else values.flatten(1).mean(dim=1)


class Objective(Configured, ABC):
    """A loss per image, larger = better for the attacker.

    Works on (N, K) logits with labels (N,), and on (N, K, H, W) with masks (N, H, W), where the
    image's value is the mean over its pixels.
    """

    @abstractmethod
    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Untargeted: grows as the prediction leaves `y`. Returns (N,)."""

    @abstractmethod
    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Targeted: grows as the prediction nears `target`. Returns (N,)."""


class CrossEntropy(Objective):
    """Cross-entropy, the loss of FGSM and PGD (Goodfellow et al. 2015; Madry et al. 2018)."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Cross-entropy to the true class."""
        return per_image(F.cross_entropy(prediction.logits, y, reduction="none"))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Minus the cross-entropy to the target class."""
        return -self.away(prediction, target)


class Margin(Objective):
    """Logit margin of Carlini and Wagner (2017), f_6 of their paper, maximised.

    Args:
        kappa: confidence: the margin stops counting once it exceeds `kappa`. Any size >= 0.
    """

    def __init__(self, kappa: float = 50.0) -> None:
        self.kappa = fraction(kappa, "objective.kappa", high=float("1e9"))

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """min(best other logit - true logit, kappa)."""
        return per_image(self._lead(prediction.logits, y).neg().clamp(max=self.kappa))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """min(target logit - best other logit, kappa)."""
        return per_image(self._lead(prediction.logits, target).clamp(max=self.kappa))

    @staticmethod
    def _lead(logits: Tensor, label: Tensor) -> Tensor:
        """Logit of `label` minus the best other logit: (N,) or (N, H, W)."""
        if logits.shape[1] < 2:
            raise ValueError(f"a margin needs two classes, the model has {logits.shape[1]} logit")
        index = label.unsqueeze(1)
        own = logits.gather(1, index).squeeze(1)
        return own - logits.scatter(1, index, -torch.inf).amax(dim=1)
