"""Training of a classifier."""

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.utilities import dim_zero_cat

from medrobust.metric.one_vs_rest import macro_auroc
from medrobust.prediction import log_odds
from medrobust.training.victim.module import TrainingModule


class MacroAUROC(Metric):
    """One-vs-rest AUROC as in the rows: ranked by log-odds, mean over the present classes.

    torchmetrics' own ranks softmax probabilities in float32, which saturate at 1.
    """

    full_state_update = False
    higher_is_better = True
    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (N, K) and classes (N,)."""
        self.scores.append(log_odds(logits.detach()))
        self.labels.append(labels)

    def compute(self) -> Tensor:
        """Return a scalar in [0, 1]; NaN if fewer than two classes are present."""
        scores, labels = dim_zero_cat(self.scores), dim_zero_cat(self.labels)
        everyone = np.ones((1, len(labels)))
        found = macro_auroc(scores.cpu().numpy(), labels.cpu().numpy(), everyone)
        return torch.tensor(float(found[0]), device=labels.device)


class ClassifierModule(TrainingModule):
    """Training of a classifier; selects the epoch of the highest accuracy.

    Balanced accuracy is the mean recall of the classes; for AUROC see `MacroAUROC`.
    """

    scored = "accuracy"

    def metrics(self, num_classes: int) -> MetricCollection:
        """Return accuracy, balanced accuracy and AUROC of logits (N, K) and classes (N,)."""
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(num_classes, average="micro"),
                "balanced_accuracy": MulticlassAccuracy(num_classes, average="macro"),
                "auroc": MacroAUROC(),
            }
        )
