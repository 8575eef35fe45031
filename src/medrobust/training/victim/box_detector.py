"""Training of a detector of boxes."""

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.detection import MeanAveragePrecision
from torchmetrics.wrappers.abstract import WrapperMetric

from medrobust.box.keep import kept
from medrobust.metric.boxes import as_lists
from medrobust.prediction import Prediction
from medrobust.training.victim.module import TrainingModule


class OfKept(WrapperMetric):
    """Mean average precision of the answers that a detector would keep.

    Args:
        metric: torchmetrics' `MeanAveragePrecision` at one IoU threshold.
    """

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.metric = metric

    def update(self, prediction: Prediction, y: Tensor) -> None:
        """Add a batch: a detector's answers, and true boxes (N, M, 5)."""
        found = kept(prediction)
        self.metric.update(*as_lists(found.label, found.logit, found.boxes, y))

    def compute(self) -> Tensor:
        """Scalar in [0, 1]; NaN where no class has a true box, and so nothing to be found."""
        value: Tensor = self.metric.compute()["map"]
        return value.where(value >= 0, torch.nan)

    def reset(self) -> None:
        """Forget the batches."""
        self.metric.reset()
        super().reset()


class BoxDetectorModule(TrainingModule):
    """Chooses the epoch of the highest mean average precision at IoU 0.5."""

    scored = "map_50"

    def answer(self, x: Tensor) -> Prediction:
        """The detector's answers, which the metrics take whole."""
        return self.victim.predict(x)

    def metrics(self, num_classes: int) -> MetricCollection:
        """Mean average precision at IoU 0.5, mean over the classes that are there."""
        return MetricCollection({"map_50": OfKept(MeanAveragePrecision(iou_thresholds=[0.5]))})
