"""Training of a classifier."""

from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

from medrobust.training.module import TrainingModule


class ClassifierModule(TrainingModule):
    """Chooses the epoch of the highest accuracy.

    Balanced accuracy is the mean recall of the classes; AUROC is one-vs-rest, mean of the classes.
    """

    scored = "accuracy"

    def metrics(self, num_classes: int) -> MetricCollection:
        """Accuracy, balanced accuracy and AUROC of logits (N, K) and classes (N,)."""
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(num_classes, average="micro"),
                "balanced_accuracy": MulticlassAccuracy(num_classes, average="macro"),
                "auroc": MulticlassAUROC(num_classes),
            }
        )
