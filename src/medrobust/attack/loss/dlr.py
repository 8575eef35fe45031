"""The difference of logits ratio."""

import torch
from torch import Tensor

from medrobust.attack.core.loss import Loss, per_image
from medrobust.attack.loss.margin import lead
from medrobust.prediction import Prediction

TINY = 1e-12  # of the authors' code: where logits tie the ratio stays finite


class DLR(Loss):
    """Difference of logits ratio: a margin that neither shift nor scale of the logits changes.

    Croce and Hein 2020, "Reliable Evaluation of Adversarial Robustness", section 4, with z_(k) the
    k-th largest logit. Where cross-entropy has no gradient left (saturated logits), this has. On
    masks it is the mean over pixels.
    """

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """(best other logit - true logit) / (z_(1) - z_(3)).

        Raises:
            ValueError: fewer than three classes.
        """
        return per_image(ratio(prediction.logits, y))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """(target logit - best other logit) / (z_(1) - (z_(3) + z_(4)) / 2).

        The paper's form has the true logit for the best other one, and so stops at a third class;
        an attack toward several classes in turn wants that, one toward a chosen class does not.

        Raises:
            ValueError: fewer than four classes.
        """
        logits = at_least_single(prediction.logits)
        return per_image(lead(logits, target) / targeted_scale(logits))


class DLROrMargin(DLR):
    """DLR where there are classes enough for it, else its numerator, the logit margin.

    Two classes always, and toward a target three, have no third or fourth logit to divide by.
    """

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """DLR; with two classes best other logit - true logit."""
        if prediction.logits.shape[1] >= 3:
            return super().away(prediction, y)
        return per_image(-lead(at_least_single(prediction.logits), y))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Targeted DLR; with up to three classes target logit - best other logit."""
        if prediction.logits.shape[1] >= 4:
            return super().toward(prediction, target)
        return per_image(lead(at_least_single(prediction.logits), target))


def ratio(logits: Tensor, y: Tensor) -> Tensor:
    """Untargeted DLR per image or pixel: (N,) or (N, H, W)."""
    classes = logits.shape[1]
    if classes < 3:
        raise ValueError(
            f"DLR divides by the third largest logit and needs three classes, the model has "
            f"{classes}: set attack/loss=margin, or attack=apgd_dlr, which uses the margin"
        )
    logits = at_least_single(logits)
    top = logits.topk(3, dim=1).values
    return -lead(logits, y) / (top[:, 0] - top[:, 2] + TINY)


def targeted_scale(logits: Tensor) -> Tensor:
    """Denominator of the targeted DLR, per image or pixel: (N,) or (N, H, W)."""
    classes = logits.shape[1]
    if classes < 4:
        raise ValueError(
            f"targeted DLR divides by the fourth largest logit and needs four classes, the model "
            f"has {classes}: set attack/loss=margin, or attack=apgd_t, which uses the margin"
        )
    top = logits.topk(4, dim=1).values
    return top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + TINY


def at_least_single(logits: Tensor) -> Tensor:
    """Return logits in float32 or finer: in half precision `TINY` would be zero."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
