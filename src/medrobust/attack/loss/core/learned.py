"""Base class of losses that learn from clean training data and must be fitted before use."""

from typing import TYPE_CHECKING

from torch import Tensor

from medrobust.attack.core.loss import Loss

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate


class LearnedLoss(Loss):
    """A loss over labels per image that sets `fitted_on` in `fit`."""

    learns = True
    fitted_on: str | None = None
    """Fingerprint of the surrogate whose features it knows."""

    def check(self, surrogate: "Surrogate", y: Tensor) -> None:
        """Called by `bind`.

        Raises:
            RuntimeError: not fitted, or fitted on another surrogate.
            ValueError: the labels are masks.
        """
        name = type(self).__name__
        if y.ndim != 1:
            raise ValueError(
                f"{name} imitates the images of a class; this task has masks {tuple(y.shape)}: "
                "choose attack/loss=cross_entropy, margin or stress"
            )
        if self.fitted_on is None:
            raise RuntimeError(
                f"{name} learns from clean training images and has seen none: call "
                "attack.fit(surrogate, data) first"
            )
        if self.fitted_on != surrogate.fingerprint:
            raise RuntimeError(
                f"{name} knows the features of another surrogate: call "
                "attack.fit(surrogate, data) with the one that is attacked"
            )
