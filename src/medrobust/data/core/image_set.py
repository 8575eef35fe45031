"""The images of one split, in memory and in a fixed order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.dataset import Sample
from medrobust.data.core.foreground import check_foreground
from medrobust.data.core.groups import Groups
from medrobust.data.core.split import Split, stratified_subset
from medrobust.fingerprint import digest, digest_tensors
from medrobust.task import task_of


@dataclass(frozen=True)
class ImageSet:
    """Images, labels and ids, on the host.

        >>> ImageSet.of((images, labels))

    Attributes:
        images: float32 (N, C, H, W) in [0, 1].
        labels: int64 (N,) or (N, H, W), or boxes (N, M, 5).
        ids: N sample ids.
        groups: images that are not independent; None where all are. They decide no pixel, and so
            are not part of the digest.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    groups: Groups | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of all pixels, labels and ids, on which every result depends."""
        tensors = {"images": self.images, "labels": self.labels}
        return digest([digest_tensors(tensors), list(self.ids)])

    @classmethod
    def of(
        cls,
        data: tuple[Tensor, Tensor] | Iterable[Sequence[Any]],
        *,
        groups: Sequence[str | int] | None = None,
        kind: str = "patients",
    ) -> "ImageSet":
        """Return the images and labels of two tensors, or of batches of them.

        Ids are those of the batches if they have some (a third part), else the index: an image's
        seed depends on its id.

        Args:
            data: `(images, labels)`, or an iterable of such batches, such as a DataLoader.
            groups: group of each image, such as its patient; intervals are then over groups.
            kind: what the groups are, in the plural.

        Raises:
            ValueError: there is no image, or images, labels and groups are not as in `ImageSet`.
        """
        if isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], Tensor):
            data = [data]
        batches = [_batch(batch) for batch in data] if isinstance(data, Iterable) else []
        if not sum(len(batch[0]) for batch in batches):
            raise ValueError(f"the data hold no image, expected {_FORMS}")
        images = torch.cat([batch[0] for batch in batches]).cpu()
        labels = torch.cat([batch[1] for batch in batches]).cpu()
        names = [name for batch in batches for name in batch[2] or ()]
        ids = tuple(names or (str(number) for number in range(len(images))))
        if len(ids) != len(images) or len(set(ids)) != len(ids):
            raise ValueError(
                f"there are {len(set(ids))} different ids for {len(images)} images, expected one "
                "of its own for each: seeds depend on it"
            )
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(
                f"images are {images.dtype} {tuple(images.shape)}, expected floating point "
                "(N, C, H, W) in [0, 1]"
            )
        if not (images.amin() >= 0 and images.amax() <= 1):
            raise ValueError(
                f"images span [{images.amin():.4g}, {images.amax():.4g}], expected [0, 1]; put the "
                "normalisation into the model, or divide by 255"
            )
        if len(labels) != len(images):
            raise ValueError(f"there are {len(labels)} labels for {len(images)} images")
        task_of(labels)
        if groups is not None and len(groups) != len(images):
            raise ValueError(f"there are {len(groups)} groups for {len(images)} images")
        found = None if groups is None else Groups.of(groups, kind)
        return cls(images.float(), labels, ids, found)

    def with_images(self, images: Tensor) -> "ImageSet":
        """Return the same samples with other pixels."""
        if images.shape != self.images.shape:
            raise ValueError(f"images are {tuple(images.shape)}, not {tuple(self.images.shape)}")
        return replace(self, images=images)


_FORMS = (
    "(images, labels) tensors, batches of them such as a DataLoader's, a medrobust.ImageSet or a "
    "datamodule"
)


def _batch(batch: Any) -> tuple[Tensor, Tensor, list[str] | None]:
    """Return images, labels and ids of a batch.

    Raises:
        ValueError: it is something else.
    """
    parts = list(batch[:3]) if isinstance(batch, tuple | list) else []
    if len(parts) < 2 or not all(isinstance(part, Tensor) for part in parts[:2]):
        raise ValueError(f"the data hold a {type(batch).__name__}, expected {_FORMS}")
    if len(parts) == 2:
        return parts[0], parts[1], None
    ids = parts[2].tolist() if isinstance(parts[2], Tensor) else list(parts[2])
    if not all(isinstance(name, str | int) for name in ids):
        raise ValueError(
            f"the third part of a batch is {parts[2]!r:.60}, expected an id (str or int) per image"
        )
    return parts[0], parts[1], [str(name) for name in ids]


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
    known = whole.entries
    if most is not None and most < len(whole):
        chosen = stratified_subset([e.id for e in known], [e.label for e in known], most, seed)
        part = Subset(whole, chosen)
        known = tuple(known[place] for place in chosen)
    loader = DataLoader(part, batch_size=256, num_workers=workers)
    images, labels, ids = zip(*loader, strict=True)
    names = tuple(name for batch in ids for name in batch)
    groups = Groups.of([entry.group for entry in known], data.grouped_by)
    return ImageSet(torch.cat(images), torch.cat(labels), names, groups)
