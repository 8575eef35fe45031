"""What a table's cell measures, and in which unit it is printed."""

from collections.abc import Mapping
from typing import Literal

from medrobust.result.row import Row

Unit = Literal["table", "plain", "ratio", "seconds", "hours", "count"]
"""How a value is printed: as the table's own (percent or not), or a plain number with a unit."""

UNITS: Mapping[str, Unit] = {
    "seconds_per_image": "seconds",
    "training_hours": "hours",
    "robust_metric": "plain",
    "detector_overhead": "plain",
    "perturbation_variance": "ratio",
    "training_queries": "count",
}
"""Of measures that are no proportions, or small ones; counts of queries are plain, too."""

HEADINGS: Mapping[str, str] = {  # these need not be in any row
    "seconds_per_image": "s per image",
    "training_hours": "training, h",
    "auroc_detection": "AUROC",
    "tpr_at_90_tnr": "TPR at 90 % TNR",
    "detector_overhead": "time / victim",
    "fpr_macro": "FPR",
    "accuracy": "accuracy",
    "mean_accuracy": "mean accuracy",
    "jaccard": "Jaccard",
    "accuracy_decrease_relative": "decrease",
    "perturbation_variance": "variance",
    "perturbation_cosine": "cosine",
    "training_queries": "queries in training",
    "iou": "IoU",
    "iou_best": "IoU of true boxes",
    "map": "mAP",
    "map_50": "mAP at IoU 0.5",
    "map_50_95": "mAP at IoU 0.5 to 0.95",
}


def unit_of(name: str) -> Unit:
    """The unit of a measure."""
    return "plain" if name.startswith("queries_") else UNITS.get(name, "table")


def heading_of(name: str) -> str:
    """What stands above its column."""
    return HEADINGS.get(name, name.replace("_", " "))


def measure(row: Row, name: str) -> float | None:
    """A measure of a finished row, None when it has none.

    Args:
        row: a row.
        name: `seconds_per_image` (the deployed system's time to answer the whole set, by image),
            `training_hours` (of victim and defense), `detector_overhead` (a detector's time
            without its Cushion, in plain answers of the victim), or a metric.
    """
    if row.status != "done":
        return None
    if name == "seconds_per_image":
        return row.seconds.get("per_image")
    if name == "training_hours":
        return row.seconds["training"] / 3600 if "training" in row.seconds else None
    if name == "detector_overhead":
        plain, own = (row.seconds.get(f"{who}_per_image") for who in ("victim", "detector"))
        return own / plain if own is not None and plain else None
    return row.metrics.get(name)


def printed(value: float, unit: Unit, *, percent: bool) -> str:
    """A value as tables print it, with an ASCII minus.

    One decimal in percent, three otherwise; times in three digits.
    """
    if unit == "table":
        return f"{100 * value:.1f}" if percent else f"{value:.3f}"
    if unit == "ratio":
        return f"{value:.3f}"
    if unit == "plain":
        return f"{value:.2f}"
    if unit == "count":
        return f"{value:.0f}"
    size = abs(value)
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if size >= 0.01 else f"{value:.2g}"
