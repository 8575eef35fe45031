"""Check for splits whose masks are all empty."""

from typing import TYPE_CHECKING

from medrobust.data.core.error import DataError
from medrobust.data.core.split import Split

if TYPE_CHECKING:
    from medrobust.data.core.base import MedicalDataModule


def check_foreground(data: "MedicalDataModule", split: Split) -> None:
    """Check that at least one mask of a segmentation split has foreground.

    Raises:
        DataError: every pixel of every mask is of class 0.
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
