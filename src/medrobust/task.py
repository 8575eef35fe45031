"""Task of a dataset, inferred from its labels."""

from math import inf
from typing import Literal

import torch
from torch import Tensor

Task = Literal["classification", "segmentation", "detection"]


class LabelError(ValueError):
    """Raised when a label is not a class of the model."""


def task_of(labels: Tensor) -> Task:
    """Return the task of a batch's labels.

    Masks and boxes both have three dimensions, but only boxes are floating point.

    Args:
        labels: classes int64 (N,), masks int64 (N, H, W), or boxes floating point (N, M, 5): class,
            left, top, right and bottom in pixels, with class -1 for padding.

    Raises:
        ValueError: the labels are none of these.
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


def check_tensors(owner: str, **given: object) -> None:
    """Raise TypeError if something is no tensor; None is accepted.

    Args:
        owner: name of what was called, for the error.
        **given: what should be tensors, by their names.
    """
    for name, value in given.items():
        if value is not None and not isinstance(value, Tensor):
            kind = type(value).__name__
            shown = f" {value!r:.40}" if kind in ("list", "tuple", "int", "str") else ""
            raise TypeError(
                f"{owner}: {name} is of type {kind}{shown}, expected a torch.Tensor; pass "
                f"torch.as_tensor({name})"
            )


def classes_needed(labels: Tensor) -> float:
    """Return the number of classes that a model needs for some labels.

    Args:
        labels: labels as for `task_of`.

    Returns:
        The largest class plus one; infinity if a label is negative or not an integer, such as the
        -100 that torch's cross-entropy ignores.
    """
    named = _named(labels)
    if not named.numel():
        return 0
    whole = named.min() >= 0 and (not named.is_floating_point() or bool((named % 1 == 0).all()))
    return int(named.max()) + 1 if whole else inf


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise if a label is not a class.

    Args:
        labels: labels as for `task_of`; no value of a mask is ignored.
        classes: number of classes K of the model or the data.

    Raises:
        LabelError: a label is outside 0 to K - 1; the message names labels and image positions.
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
    """Return the classes in some labels, without the -1 of padded boxes."""
    if task_of(labels) != "detection":
        return labels
    named = labels[..., 0]
    return named[named != -1]
