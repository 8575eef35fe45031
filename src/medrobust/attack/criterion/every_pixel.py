"""No pixel right any more."""

from torch import Tensor

from medrobust.attack.core.criterion import Criterion
from medrobust.prediction import Prediction


class EveryPixel(Criterion):
    """Segmentation: no pixel, background included, is right any more (Xie et al. 2017)."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """No pixel's class is that of `y` (N, H, W)."""
        return (prediction.label != y).flatten(1).all(1)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Every pixel's class is that of `target` (N, H, W)."""
        return (prediction.label == target).flatten(1).all(1)
