"""The base class of the training objectives."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from medrobust.configured import Configured
from medrobust.model.core.victim import Victim
from medrobust.task import Task

if TYPE_CHECKING:
    from medrobust.attack.core.base import Attack
    from medrobust.data.core.base import MedicalDataModule


class Objective(Configured, nn.Module, ABC):
    """A loss of a victim on a batch, minimised in training.

    It takes the victim instead of its logits, so that it can craft its own inputs (adversarial
    training, TRADES, MART). The victim is in training mode and its weights require gradients.

    Args:
        name: name in paths and tables.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "segmentation")
    """Tasks for which it is defined; a training on others is refused."""
    validation: "Attack | None" = None
    """Validation attack, whose highest score selects the best epoch; None for clean images.

    An objective that trades clean accuracy for robustness needs one, or the least robust epoch
    would be selected.
    """
    val_metric: str | None = None
    """Metric under that attack that selects the epoch; None for the default of the task."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def prepare(self, data: "MedicalDataModule") -> None:
        """Read the training data once, before the first batch; does nothing by default.

        Raises:
            TypeError: the objective is not defined for the task of the data.
        """

    @abstractmethod
    def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute the loss of a batch, a scalar.

        Args:
            victim: victim in training.
            x: images (N, C, H, W) in [0, 1].
            y: classes (N,), or (N, H, W) per pixel, int64; or boxes (N, M, 5), see `task_of`.
            seeds: int64 (N,), derived from the run's seed, each sample's id and the epoch.
        """
