"""The name, unit and heading of every metric, read by tables, pages and figures."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Literal, NamedTuple

Unit = Literal["proportion", "ratio", "number", "count", "seconds", "hours"]
"""Unit of a metric.

A proportion lies in [0, 1] (a change of one in [-1, 1]) and is the only unit that may be shown in
percent. A ratio is small and has three decimals, a number has two, a count none; times have three
digits.
"""

UNITS: tuple[Unit, ...] = ("proportion", "ratio", "number", "count", "seconds", "hours")


class Definition(NamedTuple):
    """The unit and heading of a metric.

    Attributes:
        unit: unit of its values.
        heading: heading of its column; empty for its name with spaces.
    """

    unit: Unit = "proportion"
    heading: str = ""


_SHARE, _RATIO, _NUMBER, _COUNT = (
    Definition(unit) for unit in ("proportion", "ratio", "number", "count")
)

_DEFINITIONS: Mapping[str, Definition] = {
    # Classification
    "accuracy": _SHARE,
    "accuracy_answered": _SHARE,
    "accuracy_worst_draw": Definition(heading="accuracy, worst draw"),
    "accuracy_vote": _SHARE,
    "abstention_rate": _SHARE,
    "attack_success_rate": _SHARE,
    "balanced_accuracy": _SHARE,
    "fpr_macro": Definition(heading="FPR"),
    "accuracy_decrease_relative": Definition(heading="decrease"),
    "auroc": Definition(heading="AUROC"),
    "f1_macro": Definition(heading="F1"),
    "mcc": Definition("ratio", "MCC"),
    "kappa_quadratic": Definition("ratio", "κ (quadratic)"),
    "ece": Definition(heading="ECE"),
    "brier": Definition("ratio", "Brier"),
    "sensitivity": _SHARE,
    "specificity": _SHARE,
    "sensitivity_at_90_specificity": Definition(heading="sensitivity at 90 % specificity"),
    "sensitivity_at_95_specificity": Definition(heading="sensitivity at 95 % specificity"),
    "sensitivity_at_operating_point": _SHARE,
    "specificity_at_operating_point": _SHARE,
    # Detectors of adversarial images
    "accuracy_accepted": _SHARE,
    "auroc_detection": Definition(heading="AUROC"),
    "clean_acceptance_rate": _SHARE,
    "detection_rate": _SHARE,
    "detector_overhead": Definition("number", "time / victim"),
    "fooled_rate": _SHARE,
    "tpr_at_90_tnr": Definition(heading="TPR at 90 % TNR"),
    "undetected_success_rate": _SHARE,
    # Votes and certificates
    "robust_metric": _NUMBER,
    "rm_low": _NUMBER,
    "rm_high": _NUMBER,
    "rm_robust": _SHARE,
    "rm_settled": _SHARE,
    "rm_correct_robust": _SHARE,
    "rm_correct_not_robust": _SHARE,
    "rm_incorrect_not_robust": _SHARE,
    "rm_incorrect_robust": _SHARE,
    "copies": _NUMBER,
    "copies_median": _NUMBER,
    "certified_radius": _RATIO,
    # Segmentation
    "dice": _SHARE,
    "dice_vote": _SHARE,
    "jaccard": Definition(heading="Jaccard"),
    "jaccard_vote": _SHARE,
    "mean_accuracy": _SHARE,
    "pixel_accuracy": _SHARE,
    # Boxes
    "iou": Definition(heading="IoU"),
    "iou_best": Definition(heading="IoU of true boxes"),
    "map": Definition(heading="mAP"),
    "map_50": Definition(heading="mAP at IoU 0.5"),
    "map_50_95": Definition(heading="mAP at IoU 0.5 to 0.95"),
    "recall": _SHARE,
    # Perturbations and features
    "perturbation_variance": Definition("ratio", "variance"),
    "perturbation_cosine": Definition(heading="cosine"),
    "feature_mean": _RATIO,
    "feature_mean_change": _SHARE,
    "feature_mean_share": _SHARE,
    # Queries and time
    "queries_max": _COUNT,
    "queries_mean": _NUMBER,
    "queries_median": _NUMBER,
    "training_queries": Definition("count", "queries in training"),
    "seconds_per_image": Definition("seconds", "s per image"),
    "training_hours": Definition("hours", "training, h"),
}

_OF_CLASS: Mapping[str, Definition] = {
    "f1": _DEFINITIONS["f1_macro"],
    "operating_threshold": _NUMBER,
    **{
        name: _DEFINITIONS[name]
        for name in _DEFINITIONS
        if name.startswith(("sensitivity", "specificity")) or name == "auroc"
    },
}
"""Metrics that are measured for each class against the rest, as `f1_class_2`."""


def definition(name: str) -> Definition | None:
    """Return the definition of a metric; None if this package does not define it.

    Args:
        name: name as in `Row.metrics`; variants on clean images (`clean_…`), on successful attacks
            (`…_successful`), as a mean of columns (`…_mean`) and at a radius
            (`certified_accuracy@0.25`), and those of one class (`f1_class_2`), share the definition
            of the metric itself.
    """
    if name.startswith("certified_accuracy@"):
        return _SHARE
    for ours in _same(name):
        if ours in _DEFINITIONS:
            return _DEFINITIONS[ours]
        base, number = _split(ours)
        if number is not None and base in _OF_CLASS:
            return _OF_CLASS[base]
    return None


def _same(name: str) -> Iterator[str]:
    """Yield the names under which a metric may be defined."""
    yield name
    for suffix in ("_successful", "_mean", "_clean"):
        if name.endswith(suffix):
            yield from _same(name.removesuffix(suffix))
    if name.startswith("clean_"):
        yield from _same(name.removeprefix("clean_"))


def of_class(name: str) -> bool:
    """Return whether a metric is one of a single class, such as `f1_class_2`."""
    base, number = _split(name.removeprefix("clean_"))
    return number is not None and base in _OF_CLASS


def _split(name: str) -> tuple[str, int | None]:
    """Return the name without its class, and the class."""
    base, found, number = name.rpartition("_class_")
    return (base, int(number)) if found and number.isdecimal() else (name, None)


def unit_of(name: str) -> Unit:
    """Return the unit of a metric; an undefined one is a plain number."""
    found = definition(name)
    return "number" if found is None else found.unit


def heading_of(name: str) -> str:
    """Return the heading of a metric's column; a class is named by its number, from 0."""
    if name.startswith("clean_"):
        return f"clean {heading_of(name.removeprefix('clean_'))}"
    if of_class(name):
        base, number = _split(name)
        return f"{_OF_CLASS[base].heading or base.replace('_', ' ')}, class {number}"
    heading = _DEFINITIONS[name].heading if name in _DEFINITIONS else ""
    return heading or name.replace("_", " ")


def unknown(name: str) -> str:
    """Return a hint for an undefined metric: similar names, or all known ones."""
    near = get_close_matches(name, _DEFINITIONS, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"known are {sorted(_DEFINITIONS)}"
