"""The aim of one attacked batch: which labels, away from or toward them, and when it is reached."""

from dataclasses import dataclass, replace

from torch import Tensor

from medrobust.attack.objective.base import Objective
from medrobust.attack.success import Success
from medrobust.prediction import Prediction


@dataclass(frozen=True)
class Goal:
    """An objective and a success rule bound to a batch's labels.

    Attributes:
        objective: the loss to maximise.
        success: the rule that decides.
        labels: (N,) or (N, H, W); true labels to leave, or target labels to reach.
        targeted: True when `labels` are targets.
    """

    objective: Objective
    success: Success
    labels: Tensor
    targeted: bool = False

    def loss(self, prediction: Prediction) -> Tensor:
        """Loss per image (N,), larger = better for the attacker."""
        rule = self.objective.toward if self.targeted else self.objective.away
        return rule(prediction, self.labels)

    def reached(self, prediction: Prediction) -> Tensor:
        """Bool (N,)."""
        rule = self.success.toward if self.targeted else self.success.away
        return rule(prediction, self.labels)

    def at(self, index: Tensor) -> "Goal":
        """The same goal for a subset, or a repetition, of the images."""
        return replace(self, objective=self.objective.at(index), labels=self.labels[index])
