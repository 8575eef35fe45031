"""What a dataset asks of a model, told by its labels."""

from typing import Literal

import torch
from torch import Tensor

Task = Literal["classification", "segmentation", "detection"]


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
