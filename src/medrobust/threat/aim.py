"""Protocol of an attacker's aim, as a surrogate needs it."""

from typing import Protocol, Self

from torch import Tensor

from medrobust.prediction import Prediction


class Looks(Protocol):
    """A loss, as far as a surrogate must know it."""

    @property
    def taps(self) -> tuple[str, ...]:
        """Modules of the victim whose outputs the loss reads."""


class Aim(Protocol):
    """The loss that an attack raises on a batch, and when an image counts as fooled."""

    @property
    def loss(self) -> Looks:
        """The loss that is maximised."""

    def value(self, prediction: Prediction) -> Tensor:
        """Return the value of the loss for each image (N,), larger = better for the attacker."""

    def reached(self, prediction: Prediction) -> Tensor:
        """Return which images are fooled, bool (N,)."""

    def at(self, index: Tensor) -> Self:
        """Return the same aim for a subset, or a repetition, of the images."""
