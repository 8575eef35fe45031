"""Training of a segmenter."""

from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex
from torchmetrics.wrappers.abstract import WrapperMetric

from medrobust.training.victim.module import TrainingModule


class Foreground(WrapperMetric):
    """Mean of a per-class metric over the classes other than 0, the background.

    Args:
        metric: metric with one number per class (K,).
    """

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.metric = metric

    def update(self, logits: Tensor, mask: Tensor) -> None:
        """Add a batch: logits (N, K, H, W) and classes (N, H, W)."""
        self.metric.update(logits, mask)

    def compute(self) -> Tensor:
        """Return a scalar in [0, 1]."""
        return self.metric.compute()[1:].mean()

    def reset(self) -> None:
        """Forget the batches."""
        self.metric.reset()
        super().reset()


class SegmenterModule(TrainingModule):
    """Training of a segmenter; selects the epoch of the highest Dice over all foreground pixels."""

    scored = "dice"

    def metrics(self, num_classes: int) -> MetricCollection:
        """Return Dice (F1 over pixels) and Jaccard of the foreground classes."""
        return MetricCollection(
            {
                "dice": Foreground(MulticlassF1Score(num_classes, average=None)),
                "jaccard": Foreground(MulticlassJaccardIndex(num_classes, average=None)),
            },
            compute_groups=False,
        )
