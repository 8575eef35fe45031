"""Another class than the true one, or the target class."""

from torch import Tensor

from medrobust.attack.core.criterion import Criterion
from medrobust.prediction import Prediction


class Misclassified(Criterion):
    """Classification: another class, or the target class."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """The predicted class differs from `y` (N,)."""
        return prediction.label != y

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """The predicted class is `target` (N,)."""
        return prediction.label == target
