"""The base class of the datasets, a Lightning datamodule."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, get_args

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medrobust.data.core.dataset import Augment, AugmentedDataset, ImageDataset, Sample
from medrobust.data.core.entries import check_entries
from medrobust.data.core.error import DataError, MissingDataError, Origin
from medrobust.data.core.image import FileReader, Reader
from medrobust.data.core.manifest import Entry, Manifest, Record, read_records, write_records
from medrobust.data.core.split import SPLITS, Split, split_groups, stratified_subset
from medrobust.data.phantom.store import materialise, phantom_folder
from medrobust.fingerprint import digest
from medrobust.number import whole
from medrobust.task import Task

__all__ = ["ImageDataset", "MedicalDataModule", "Sample", "Task"]

_log = logging.getLogger(__name__)
_CACHE_BYTES = 2**30


class MedicalDataModule(pl.LightningDataModule):
    """A medical image dataset in its official on-disk layout.

    A dataset describes itself by class attributes, lists its samples in `entries`, and draws its
    phantom in `write_phantom`; everything else happens here.

    Args:
        root: folder of this dataset.
        manifests: folder for the manifest, which lists every image with its split and sha256.
        name: name of the dataset in ids and paths; null for the name of the class.
        key: name of this view of the dataset in checkpoint paths; null to derive it.
        size: side of the square images in pixels.
        channels: 1 or 3; null for the dataset's own.
        batch_size: images per batch.
        workers: loader processes; 0 loads in the main one.
        split_seed: decides seeded splits and subsets.
        phantom: True to draw and read a procedural phantom under `<root>/phantom`.
        phantom_n: images in the phantom.
        limit_train: maximum number of training images, drawn by class; null for all.
        limit_val: likewise for validation images.
        limit_test: likewise for test images.
        augment: random transform of training images; null for none.
        cache_bytes: maximum size of a decoded split that is kept in memory.

    Raises:
        ValueError: a number is out of range.
    """

    name: str = ""
    task: ClassVar[Task] = "classification"
    classes: tuple[str, ...] = ()
    graded: bool = False
    """True where the classes are grades in ascending order: Cohen's κ is defined."""
    grouped_by: ClassVar[str] = "patients"
    """The groups of the entries, in the plural."""
    native_channels: int = 3
    origin: Origin

    def __init__(
        self,
        root: str | Path,
        manifests: str | Path,
        *,
        name: str | None = None,
        key: str | None = None,
        size: int | None = 224,
        channels: int | None = None,
        batch_size: int = 64,
        workers: int = 0,
        split_seed: int = 0,
        phantom: bool = False,
        phantom_n: int = 1000,
        limit_train: int | None = None,
        limit_val: int | None = None,
        limit_test: int | None = None,
        augment: Augment | None = None,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        super().__init__()
        self.name = name or type(self).name
        if size is None or size < 1:
            raise ValueError(f"{self.name}: data.size is {size}, expected a side in pixels >= 1")
        if channels not in (None, 1, 3):
            raise ValueError(f"{self.name}: data.channels is {channels}, expected null, 1 or 3")
        numbers = {"batch_size": (batch_size, 1), "workers": (workers, 0)}
        numbers |= {"split_seed": (split_seed, 0), "phantom_n": (phantom_n, 1)}
        limits = {"limit_train": limit_train, "limit_val": limit_val, "limit_test": limit_test}
        numbers |= {key: (value, 1) for key, value in limits.items() if value is not None}
        for number, (value, low) in numbers.items():
            whole(value, f"data.{number}", low=low)
        self.root, self.manifests = Path(root), Path(manifests)
        self.size = size
        self.channels = channels or self.native_channels
        self.batch_size, self.workers, self.split_seed = batch_size, workers, split_seed
        self.phantom, self.phantom_n = phantom, phantom_n
        self.limits: dict[Split, int | None] = {
            "train": limit_train,
            "val": limit_val,
            "test": limit_test,
        }
        self.augment, self.cache_bytes = augment, cache_bytes
        self._key = key
        self._manifest: Manifest | None = None
        self._datasets: dict[Split, ImageDataset] = {}

    # Written by a dataset -------------------------------------------------------------------

    @abstractmethod
    def entries(self) -> list[Entry]:
        """List the samples under `self.folder`, and check their layout.

        Raises:
            MissingDataError: a file or folder of the layout is absent.
            DataError: labels, names and files do not agree.
        """

    @abstractmethod
    def write_phantom(self, folder: Path) -> None:
        """Draw `phantom_n` images of side `size` in this dataset's layout under `folder`."""

    def assign(self, entries: Sequence[Entry]) -> list[Split]:
        """Return the split of each entry: the official one, or seeded 8:1:1 by class and group."""
        if all(e.split is not None for e in entries):
            return [e.split for e in entries if e.split is not None]
        return split_groups([e.group for e in entries], [e.label for e in entries], self.split_seed)

    def reader(self) -> Reader:
        """Return the decoder of the entries."""
        return FileReader(self.size, self.channels, self.native_channels, max(2, self.num_classes))

    def view(self) -> dict[str, int | str | None]:
        """Return the settings that decide pixels and labels; part of the manifest."""
        return {"size": self.size, "channels": self.channels, "resize": "pil bilinear"}

    # Called by users -----------------------------------------------------------------------

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    @property
    def variant(self) -> str:
        """Return the name, extended where one set of images has several labelings."""
        return self.name

    @property
    def key(self) -> str:
        """Return the name of this view in checkpoint paths, such as `isic2019_224px_phantom`."""
        suffix = "_phantom" if self.phantom else ""
        return self._key or f"{self.variant}_{self.size}px{suffix}"

    @property
    def folder(self) -> Path:
        """Return the folder that is read: `root`, or that of the phantom."""
        return phantom_folder(self.root, self.phantom_n, self.size) if self.phantom else self.root

    @property
    def manifest(self) -> Manifest:
        """Return all samples by content, with their splits."""
        self.setup()
        assert self._manifest is not None
        return self._manifest

    def prepare_data(self) -> None:
        """Draw the phantom if `phantom` is set and it does not exist yet."""
        if self.phantom:
            materialise(self.folder, self.write_phantom)

    def setup(self, stage: str | None = None) -> None:
        """List and split the samples, and read or write the manifest, once.

        Raises:
            MissingDataError: the dataset is not under `root`.
            DataError: the dataset does not match its layout.
        """
        if self._manifest is not None:
            return
        self.prepare_data()
        entries = self.entries()
        check_entries(self.name, entries, self.num_classes)
        splits = self.assign(entries)
        reader = self.reader()
        # The manifest is reused while the files look unchanged: hashing a large set is slow.
        path = self._manifest_path()
        listing = self._listing(entries, splits)
        records = self._known_records(path, listing)
        if records is None:
            records = tuple(
                Record(e.id, e.label, s, reader.sha256(e))
                for e, s in zip(entries, splits, strict=True)
            )
            write_records(path, records, listing)
        self._manifest = Manifest(self.name, self.view(), records)
        if shared := self._manifest.shared():
            _log.warning("%s: %d images are in more than one split", self.name, shared)
        for split in SPLITS:
            inside = [e for e, s in zip(entries, splits, strict=True) if s == split]
            if not inside:
                raise DataError(f"{self.name}: no image in split {split} of {self.folder}")
            ids, labels = [e.id for e in inside], [e.label for e in inside]
            chosen = stratified_subset(ids, labels, self.limits[split], self.split_seed)
            self._datasets[split] = ImageDataset(
                [inside[i] for i in chosen], reader, self.cache_bytes
            )

    def dataset(self, split: Split) -> ImageDataset:
        """Return the samples of a split, without augmentation, always in the same order."""
        if split not in get_args(Split):
            raise ValueError(f"{self.name}: split {split!r}, expected one of {SPLITS}")
        self.setup()
        return self._datasets[split]

    def labels(self, split: Split) -> Tensor:
        """Return the class of each sample of a split, int64 (N,), without decoding an image.

        Raises:
            TypeError: the dataset's labels are masks or boxes.
        """
        found = [e.label for e in self.dataset(split).entries]
        if None in found:
            what = {"segmentation": "masks", "detection": "boxes"}[self.task]
            raise TypeError(f"{self.name}: labels are {what}; take them from dataset({split!r})")
        return torch.tensor(found)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return a loader that is seeded (`seed_everything`), shuffled and augmented."""
        samples = self.dataset("train")
        dataset: Dataset[Sample] = samples
        if self.augment is not None:
            dataset = AugmentedDataset(samples, len(samples), self.augment)
        # initial_seed() is the seed last set, whatever was drawn since.
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**63)
        return DataLoader(
            dataset,
            self.batch_size,
            shuffle=True,
            generator=generator,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            drop_last=len(samples) > self.batch_size,  # batch norm fails on a last batch of one
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Return a loader of the validation samples, in order."""
        return DataLoader(self.dataset("val"), self.batch_size, num_workers=self.workers)

    def test_dataloader(self) -> DataLoader[Sample]:
        """Return a loader of the test samples, in order."""
        return DataLoader(self.dataset("test"), self.batch_size, num_workers=self.workers)

    def _manifest_path(self) -> Path:
        seed = "" if self.split_seed == 0 else f"_seed{self.split_seed}"
        if self.phantom:  # kept apart from the manifests of real images
            return self.manifests / "phantom" / f"{self.variant}_{self.folder.name}{seed}.csv"
        return self.manifests / f"{self.variant}{seed}.csv"

    # Helpers of `entries` ------------------------------------------------------------------

    def require(self, path: Path) -> Path:
        """Return the path if it exists.

        Raises:
            MissingDataError: it does not exist; names the source of the dataset.
        """
        if not path.exists():
            raise MissingDataError(self.name, path, self.origin)
        return path

    def _known_records(self, path: Path, listing: str) -> tuple[Record, ...] | None:
        """Return the manifest's records; None if it is absent, damaged or of another listing."""
        try:
            return read_records(path, listing)
        except DataError as error:
            _log.warning("%s; it is made again", error)
            return None

    def _listing(self, entries: Sequence[Entry], splits: Sequence[Split]) -> str:
        stats = {path: path.stat() for path in sorted({p for e in entries for p in e.files})}
        return digest(
            {
                "files": [
                    [p.relative_to(self.folder).as_posix(), s.st_size, s.st_mtime_ns]
                    for p, s in stats.items()
                ],
                "entries": [
                    [e.id, e.label, s, e.index] for e, s in zip(entries, splits, strict=True)
                ],
            }
        )
