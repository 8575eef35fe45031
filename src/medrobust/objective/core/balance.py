"""Class weights that balance the classes of the training split."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from medrobust.data.core.base import MedicalDataModule


def balanced_weights(counts: Tensor) -> Tensor:
    """Return class weights w_k = N / (K n_k), for which Σ n_k w_k = N.

    Args:
        counts: n_k (K,), training images (or pixels) per class.

    Returns:
        w (K,) float32; 0 for an absent class.
    """
    counts = counts.double()
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp(min=1))
    return (weights * present).float()


def class_weights(data: "MedicalDataModule") -> Tensor:
    """Return balanced weights (K,) of the training split's images, or of its pixels for masks."""
    if data.task == "classification":
        return balanced_weights(torch.bincount(data.labels("train"), minlength=data.num_classes))
    samples = data.dataset("train")
    counts = torch.zeros(data.num_classes, dtype=torch.int64)
    for index in range(len(samples)):
        mask = samples[index].label.flatten()
        counts += torch.bincount(mask, minlength=data.num_classes)
    return balanced_weights(counts)
