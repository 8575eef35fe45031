"""The aim of one attacked batch: which labels, away from or toward them, and when it is reached."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor, nn

from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.loss import Loss
from medrobust.prediction import Prediction
from medrobust.task import check_labels, classes_needed


@dataclass(frozen=True)
class Aimed:
    """The true labels of a batch, refused by the first answer of a model that lacks their classes.

    Attributes:
        labels: of the whole batch, see `task_of`.
        needed: classes that they need.
    """

    labels: Tensor
    needed: float

    @classmethod
    def at(cls, labels: Tensor) -> "Aimed":
        """Count the classes once, so that no step of an attack waits for the device."""
        return cls(labels, classes_needed(labels))

    def check(self, prediction: Prediction) -> None:
        """Compare with an answer.

        Raises:
            LabelError: a label is no class of the model.
        """
        if prediction.logits.shape[1] < self.needed:
            check_labels(self.labels, prediction.logits.shape[1])

    @contextmanager
    def watching(self, surrogate: nn.Module) -> Iterator[None]:
        """Check what a surrogate answers inside, also where no loss is taken of it."""
        handle = surrogate.register_forward_hook(lambda _, inputs, seen: self.check(seen))
        try:
            yield
        finally:
            handle.remove()


@dataclass(frozen=True)
class Goal:
    """A loss and a success rule bound to a batch's labels.

    Attributes:
        loss: the loss to maximise.
        criterion: the rule that decides.
        labels: (N,) or (N, H, W); true labels to leave, or target labels to reach.
        targeted: True when `labels` are targets.
        aimed: the true labels, that a model must have the classes of; None = not checked.
        start: (N, C, H, W) inside the ball, where a climb starts; None = the attack's own start.
    """

    loss: Loss
    criterion: Criterion
    labels: Tensor
    targeted: bool = False
    aimed: Aimed | None = None
    start: Tensor | None = None

    def value(self, prediction: Prediction) -> Tensor:
        """Loss per image (N,), larger = better for the attacker."""
        self._check(prediction)
        rule = self.loss.toward if self.targeted else self.loss.away
        return rule(prediction, self.labels)

    def reached(self, prediction: Prediction) -> Tensor:
        """Bool (N,)."""
        self._check(prediction)
        rule = self.criterion.toward if self.targeted else self.criterion.away
        return rule(prediction, self.labels)

    def at(self, index: Tensor) -> "Goal":
        """The same goal for a subset, or a repetition, of the images."""
        start = None if self.start is None else self.start[index]
        return replace(self, loss=self.loss.at(index), labels=self.labels[index], start=start)

    def _check(self, prediction: Prediction) -> None:
        if self.aimed is not None:
            self.aimed.check(prediction)
