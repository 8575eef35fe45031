"""Soft Dice."""

import torch
from torch import Tensor

from medrobust.attack.core.loss import Loss
from medrobust.number import fraction
from medrobust.prediction import Prediction


class Dice(Loss):
    """Soft Dice of the foreground: what a segmenter is judged by, made differentiable.

    Per image and class, (2 sum p t + smooth) / (sum p + sum t + smooth) over the pixels, p the
    softmax probability and t the mask of the class (Milletari et al. 2016, eq. 1, without the
    squares); then the mean over all classes but 0, the background. Since the sums run over the
    whole image, a small lesion counts as much as a large one, unlike in cross-entropy per pixel.
    A class that an image does not have scores near 1 until something is predicted there, as in
    the metric. Segmentation only.

    Args:
        smooth: pixels added to numerator and denominator, > 0, so that a class that is absent is
            defined and gives a gradient.
    """

    def __init__(self, smooth: float = 1.0) -> None:
        self.smooth = fraction(smooth, "attack.loss.smooth", high=float("1e9"), above=True)

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """1 - soft Dice to the true mask (N, H, W), in [0, 1)."""
        return 1 - self._overlap(prediction, y)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Soft Dice to the target mask (N, H, W), in (0, 1]."""
        return self._overlap(prediction, target)

    def _overlap(self, prediction: Prediction, mask: Tensor) -> Tensor:
        if mask.ndim != 3:
            raise ValueError(
                f"attack/loss=dice needs masks (N, H, W), this task has labels "
                f"{tuple(mask.shape)}: set attack/loss=cross_entropy"
            )
        logits = prediction.logits
        wide = torch.promote_types(logits.dtype, torch.float32)  # sums over many pixels
        found = logits.to(wide).softmax(1)[:, 1:].flatten(2)
        classes = torch.arange(1, logits.shape[1], device=mask.device).view(1, -1, 1)
        wanted = (mask.flatten(1).unsqueeze(1) == classes).to(wide)
        both, either = (found * wanted).sum(2), found.sum(2) + wanted.sum(2)
        return ((2 * both + self.smooth) / (either + self.smooth)).mean(1)
