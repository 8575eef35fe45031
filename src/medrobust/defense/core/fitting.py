"""Fitting of detectors on clean images: batches of a split, the threshold, and a cache."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medrobust.data.core.split import Split
from medrobust.fingerprint import digest
from medrobust.rng import sample_seeds

FORMAT = 3
"""Version of the cache; increment it with any change of a fit."""

BATCH = 64
"""Batch size; a constant, so that a fit does not depend on it."""


class FitError(ValueError):
    """Raised when the clean images are not sufficient to fit a detector."""


class Statistics(nn.Module):
    """Named tensors of a detector's state."""

    def __setitem__(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value)

    def __getitem__(self, name: str) -> Tensor:
        return self.get_buffer(name)

    def clear(self) -> None:
        """Remove all tensors."""
        self._buffers.clear()


def batches(
    datamodule: Any, split: Split, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield a split in order: images (N, C, H, W) in [0, 1], labels and seeds, int64 (N,).

    Raises:
        FitError: the labels are masks, or all of one class.
    """
    dataset = datamodule.dataset(split)
    labels = [entry.label for entry in dataset.entries]
    if None in labels:
        raise FitError(f"{datamodule.name}: detectors need class labels, its labels are masks")
    if len(set(labels)) == 1:
        raise FitError(
            f"{datamodule.name}: all {len(labels)} images of split {split} are of class "
            f"{labels[0]}, expected several classes; raise data.limit_{split}"
        )
    for images, found, ids in DataLoader(dataset, BATCH, num_workers=datamodule.workers):
        yield images.to(device), found.to(device), sample_seeds(0, ids, device)


def enough_of_each(labels: Tensor, classes: int, least: int) -> None:
    """Check the number of images of each class.

    Args:
        labels: int64 (N,).
        classes: number of classes K of the victim.
        least: minimum number of images of each class.

    Raises:
        FitError: a class has fewer images, or the victim has a single class.
    """
    if classes < 2:
        raise FitError(f"the victim has {classes} class, expected at least 2")
    for label, count in enumerate(labels.bincount(minlength=classes).tolist()):
        if count < least:
            raise FitError(
                f"class {label} has {count} clean images in split train, expected at least "
                f"{least}; raise data.limit_train"
            )


def rejection_threshold(scores: Tensor, tnr: float) -> Tensor:
    """Return the lowest threshold that at least a share `tnr` of the clean images does not exceed.

    Args:
        scores: scores (N,) of clean images.
        tnr: true-negative rate in (0, 1].

    Raises:
        FitError: there are no scores, or some are not finite.
    """
    if not len(scores) or not scores.isfinite().all():
        bad = int((~scores.isfinite()).sum())
        raise FitError(f"{bad} of {len(scores)} clean validation scores are not finite")
    place = math.ceil(tnr * len(scores) - 1e-9)
    return scores.sort().values[max(place, 1) - 1].clone()


def cached_fit(
    folder: str | None, parts: list[Any], make: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Return the result of `make`, cached in a folder.

    Args:
        folder: folder of the cache; None for no cache.
        parts: plain data on which the result depends.
        make: computes the result, tensors on any device.
    """
    if folder is None:
        return make()
    from medrobust.cache.tensors import TensorCache  # needs safetensors

    with TensorCache(folder).slot(digest([FORMAT, *parts])) as slot:
        if slot.found is None:
            slot.fill(make(), {})
    return slot.entry.tensors


def data_identity(datamodule: Any) -> list[Any]:
    """Return the identity of a fit's clean images: digest of the data, ids of the splits."""
    ids = [[entry.id for entry in datamodule.dataset(split).entries] for split in ("train", "val")]
    return [datamodule.manifest.digest, ids]
