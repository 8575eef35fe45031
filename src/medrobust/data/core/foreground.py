"""Masks that are all empty: nothing to learn from, nothing to measure."""

from typing import TYPE_CHECKING

from medrobust.data.core.error import DataError
from medrobust.data.core.split import Split

if TYPE_CHECKING:
    from medrobust.data.core.base import MedicalDataModule


def check_foreground(data: "MedicalDataModule", split: Split) -> None:
    """See that some mask of a split, if its labels are masks, has foreground; single ones need not.

    Raises:
        DataError: no pixel of any mask is of another class than 0.
    """
    if data.task != "segmentation":
        return
    samples = data.dataset(split)
    if not any(samples[index].label.any() for index in range(len(samples))):
        raise DataError(
            f"{data.name}: no mask of split {split} ({len(samples)} images) has a pixel of "
            f"{' or '.join(data.classes[1:])}: nothing can be learned from it or measured on it; "
            f"look at the mask files, or take more images with data.limit_{split}"
        )
