"""Samples, and datasets of them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from medrobust.data.core.box import augmented_boxes
from medrobust.data.core.image import Reader
from medrobust.data.core.manifest import Entry

Augment = Callable[..., Tensor | tuple[Tensor, Tensor]]


class Sample(NamedTuple):
    """One sample, or a batch of them after collation.

    Attributes:
        image: float32 (C, H, W) in [0, 1], never normalised.
        label: int64 () class, or (H, W) class of each pixel; or float32 (M, 5) boxes: class, left,
            top, right and bottom in pixels, class -1 in padding.
        id: unique and stable name, `<dataset>/<...>`; seeds of attacks are derived from it.
    """

    image: Tensor
    label: Tensor
    id: str


class ImageDataset(Dataset[Sample]):
    """Samples of one split, cached as 8-bit images if they all fit into memory.

    Args:
        entries: samples in order.
        reader: decodes one entry.
        cache_bytes: maximum size of the decoded split that is kept in memory.
    """

    def __init__(self, entries: Sequence[Entry], reader: Reader, cache_bytes: int) -> None:
        self.entries = tuple(entries)
        self._reader = reader
        self._cache_bytes = cache_bytes
        self._cache: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        image, label = self._cache.get(index) or self._read(index)
        label = label.clone() if label.is_floating_point() else label.long()
        return Sample(image.float().div_(255), label, self.entries[index].id)

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self._reader(self.entries[index])
        if len(self) * (image.nbytes + label.nbytes) <= self._cache_bytes:
            self._cache[index] = image, label
        return image, label


class AugmentedDataset(Dataset[Sample]):
    """A dataset with a random transform of the training images.

    Classification calls `augment(image)`. Segmentation calls `augment(image, mask)` with
    torchvision's image and mask types, so that its v2 transforms move both alike. Detection calls
    `augment(image, boxes)` likewise; boxes that leave the image are dropped.
    """

    def __init__(self, dataset: Dataset[Sample], length: int, augment: Augment) -> None:
        self._dataset, self._length, self._augment = dataset, length, augment

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        image, label, name = self._dataset[index]
        if label.ndim == 0:
            changed = self._augment(image)
        elif label.is_floating_point():
            changed, label = augmented_boxes(self._augment, image, label)
        else:
            from torchvision import tv_tensors  # heavy

            changed, label = self._augment(tv_tensors.Image(image), tv_tensors.Mask(label))
        return Sample(torch.as_tensor(changed).clamp(0, 1), torch.as_tensor(label), name)
