"""The images of one split, in memory and in a fixed order."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.dataset import Sample
from medrobust.data.core.foreground import check_foreground
from medrobust.data.core.split import Split, stratified_subset
from medrobust.fingerprint import digest, digest_tensors


@dataclass(frozen=True)
class ImageSet:
    """Images, labels and ids, on the host.

    Attributes:
        images: float32 (N, C, H, W) in [0, 1].
        labels: int64 (N,) or (N, H, W), or boxes (N, M, 5).
        ids: N sample ids.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of all pixels, labels and ids, on which every result depends."""
        tensors = {"images": self.images, "labels": self.labels}
        return digest([digest_tensors(tensors), list(self.ids)])

    def with_images(self, images: Tensor) -> "ImageSet":
        """Return the same samples with other pixels."""
        if images.shape != self.images.shape:
            raise ValueError(f"images are {tuple(images.shape)}, not {tuple(self.images.shape)}")
        return ImageSet(images, self.labels, self.ids)


def load(
    data: MedicalDataModule,
    split: Split,
    *,
    workers: int = 0,
    most: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """Decode a split, or a part of it.

    Args:
        data: datamodule, prepared or not.
        split: `train`, `val` or `test`.
        workers: decoding processes; does not change the result.
        most: maximum number of images, drawn by class; None for all.
        seed: decides which images are drawn.

    Raises:
        DataError: the labels are masks, and no mask of the split has foreground.
    """
    data.prepare_data()
    data.setup("test")
    check_foreground(data, split)
    whole = data.dataset(split)
    part: Dataset[Sample] = whole
    if most is not None and most < len(whole):
        known = whole.entries
        chosen = stratified_subset([e.id for e in known], [e.label for e in known], most, seed)
        part = Subset(whole, chosen)
    loader = DataLoader(part, batch_size=256, num_workers=workers)
    images, labels, ids = zip(*loader, strict=True)
    names = tuple(name for batch in ids for name in batch)
    return ImageSet(torch.cat(images), torch.cat(labels), names)
