"""Base class of every attack loss: a value per image that the attacker maximises."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import Tensor

from medrobust.configured import Configured
from medrobust.prediction import Prediction
from medrobust.task import Task

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate


def per_image(values: Tensor) -> Tensor:
    """Mean over pixels: (N, ...) -> (N,)."""
    return values if values.ndim == 1 else values.flatten(1).mean(dim=1)


class Loss(Configured, ABC):
    """A loss per image, larger = better for the attacker.

    Works on (N, K) logits with labels (N,), and on (N, K, H, W) with masks (N, H, W), where the
    image's value is the mean over its pixels.

    Most losses need the logits only and write `away` and `toward`. One that looks inside the
    network names `taps`; one that learns from clean training data says `learns` and writes `fit`;
    one that needs something of each image of the batch (a guide, its clean features) writes
    `bind`, which returns a copy that holds it, and `at`, which keeps some of its images.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "segmentation")
    """Tasks that it is defined for; an attack refuses the others."""
    learns: bool = False
    evades: bool = False
    """Aims past a detector, too: then only an image that it accepts counts as a success."""
    fools: ClassVar[bool] = True
    """False if it does not aim at wrong answers; then fooling no image is no failure."""

    @property
    def taps(self) -> tuple[str, ...]:
        """Modules whose outputs it wants in `Prediction.features`."""
        return ()

    def fit(self, surrogate: "Surrogate", data: Any) -> None:
        """Learn from the training split of `data`, a datamodule; nothing for most."""

    def bind(
        self, surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> "Loss":
        """The loss for one batch; itself for most.

        Args:
            surrogate: what the attacker sees.
            x: clean images (N, C, H, W).
            y: the goal's labels, true or target.
            seeds: int64 (N,).
            targeted: True when `y` are targets.
        """
        return self

    def at(self, index: Tensor) -> Self:
        """The loss for a subset, or a repetition, of the bound batch's images."""
        return self

    @abstractmethod
    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Untargeted: grows as the prediction leaves `y`. Returns (N,)."""

    @abstractmethod
    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Targeted: grows as the prediction nears `target`. Returns (N,)."""
