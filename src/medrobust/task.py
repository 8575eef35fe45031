"""What a dataset asks of a model, told by its labels."""

from math import inf
from typing import Literal

import torch
from torch import Tensor

Task = Literal["classification", "segmentation", "detection"]


class LabelError(ValueError):
    """A label that is no class of the model."""


def task_of(labels: Tensor) -> Task:
    """The task that a batch's labels belong to.

    Masks and boxes both have three dimensions; coordinates are floating point, classes are not.

    Args:
        labels: classes int64 (N,), masks int64 (N, H, W), or boxes floating point (N, M, 5): class,
            left, top, right and bottom in pixels, with class -1 in rows that only fill up.

    Raises:
        ValueError: none of these.
    """
    if labels.dtype == torch.int64 and labels.ndim == 1:
        return "classification"
    if labels.dtype == torch.int64 and labels.ndim == 3:
        return "segmentation"
    if labels.is_floating_point() and labels.ndim == 3 and labels.shape[2] == 5:
        return "detection"
    raise ValueError(
        f"labels are {labels.dtype} {tuple(labels.shape)}; expected classes int64 (N,), masks "
        "int64 (N, H, W) or boxes float (N, M, 5)"
    )


def classes_needed(labels: Tensor) -> float:
    """Return how many classes a model must have for all labels to be classes of it.

    Args:
        labels: as `task_of` takes them.

    Returns:
        The largest class plus one; infinity where a label is a class of no model: a negative or
        broken number, such as the -100 that torch's cross-entropy ignores.
    """
    named = _named(labels)
    if not named.numel():
        return 0
    whole = named.min() >= 0 and (not named.is_floating_point() or bool((named % 1 == 0).all()))
    return int(named.max()) + 1 if whole else inf


def check_labels(labels: Tensor, classes: int) -> None:
    """Refuse labels that are no classes.

    Args:
        labels: as `task_of` takes them; no value of a mask is ignored.
        classes: K of the model or the data.

    Raises:
        LabelError: some are not 0 to K - 1; names them and the places of their images.
    """
    if classes_needed(labels) <= classes:
        return
    images = [place for place, one in enumerate(labels) if classes_needed(one[None]) > classes]
    found = _named(labels)
    wrong = found[(found < 0) | (found >= classes) | (found % 1 != 0)].unique().tolist()
    raise LabelError(
        f"labels {wrong[:8]} of images {images[:8]} are none of the {classes} classes, expected 0 "
        f"to {classes - 1} (no value is ignored): relabel these images or leave them out"
    )


def _named(labels: Tensor) -> Tensor:
    """The classes that labels name; of boxes without the -1 of rows that only fill up."""
    if task_of(labels) != "detection":
        return labels
    named = labels[..., 0]
    return named[named != -1]
