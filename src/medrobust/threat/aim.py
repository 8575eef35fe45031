"""Protocol of an attacker's aim, as a surrogate needs it."""

from typing import Any, Protocol, Self

from torch import Tensor

from medrobust.prediction import Prediction


class Aim(Protocol):
    """The loss that an attack raises on a batch, and when an image counts as fooled."""

    @property
    def objective(self) -> Any:
        """The loss, whose `taps` name the victim's modules that it looks at."""

    def loss(self, prediction: Prediction) -> Tensor:
        """Return the loss of each image (N,), larger = better for the attacker."""

    def reached(self, prediction: Prediction) -> Tensor:
        """Return which images are fooled, bool (N,)."""

    def at(self, index: Tensor) -> Self:
        """Return the same aim for a subset, or a repetition, of the images."""
