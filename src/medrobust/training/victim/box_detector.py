"""Training of a box detector."""

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
    """Mean average precision of the answers that a detector keeps.

    Args:
        metric: torchmetrics' `MeanAveragePrecision` at one IoU threshold.
    """

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.metric = metric

    def update(self, prediction: Prediction, y: Tensor) -> None:
        """Add a batch: a detector's predictions, and true boxes (N, M, 5)."""
        found = kept(prediction)
        self.metric.update(*as_lists(found.label, found.logit, found.boxes, y))

    def compute(self) -> Tensor:
        """Return a scalar in [0, 1]; NaN if no class has a true box."""
        value: Tensor = self.metric.compute()["map"]
        return value.where(value >= 0, torch.nan)

    def reset(self) -> None:
        """Forget the batches."""
        self.metric.reset()
        super().reset()


class BoxDetectorModule(TrainingModule):
    """Training of a box detector; selects the epoch of the highest mAP at IoU 0.5."""

    scored = "map_50"

    def answer(self, x: Tensor) -> Prediction:
        """Return the detector's full predictions, for the metrics."""
        return self.victim.predict(x)

    def metrics(self, num_classes: int) -> MetricCollection:
        """Return mean average precision at IoU 0.5, over the classes that are present."""
        return MetricCollection({"map_50": OfKept(MeanAveragePrecision(iou_thresholds=[0.5]))})
