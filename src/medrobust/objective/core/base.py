"""What every training objective shares."""

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

    It gets the victim and not its logits, so that it may craft its own inputs (adversarial
    training, TRADES, MART). The victim is in training mode and its weights require gradients.

    Args:
        name: name in paths and tables.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("classification", "segmentation")
    """Tasks that it is defined for; a training on others is refused."""
    validation: "Attack | None" = None
    """What validation images must stand: the best epoch is that of the highest score under it.
    None: on clean images. An objective that trades clean accuracy for robustness needs one, or the
    least robust epoch would be chosen."""
    val_metric: str | None = None
    """Metric under that attack whose highest value chooses the epoch; None: the task's own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def prepare(self, data: "MedicalDataModule") -> None:
        """Look at the training data once, before the first batch; by default nothing is needed.

        Raises:
            TypeError: the data's task is not one that the objective serves.
        """

    @abstractmethod
    def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        """Loss of a batch, a scalar.

        Args:
            victim: what is trained.
            x: images (N, C, H, W) in [0, 1].
            y: classes (N,), or (N, H, W) per pixel, int64; or boxes (N, M, 5), see `task_of`.
            seeds: int64 (N,), of the run's seed, each sample's id and the epoch.
        """
