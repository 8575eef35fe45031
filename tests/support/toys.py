"""A training split in memory, for what learns from one, and a defense that is all noise."""

from types import SimpleNamespace
from typing import NamedTuple

from torch import Tensor

from medrobust.data.core.dataset import Sample
from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.rng import normal


class Entry(NamedTuple):
    id: str
    label: int | None
    group: str


class ToyDataset:
    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels
        self.entries = [
            Entry(f"toy/train/{i}", int(label) if label.ndim == 0 else None, str(i))
            for i, label in enumerate(labels)
        ]

    def keep(self, index: Tensor) -> None:
        """Only these samples, under their old names."""
        self.images, self.labels = self.images[index], self.labels[index]
        self.entries = [self.entries[i] for i in index.tolist()]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        if index >= len(self):
            raise IndexError(index)
        return Sample(self.images[index], self.labels[index], self.entries[index].id)


class ToyData:
    """Stands for a datamodule whose only split is `train`."""

    grouped_by = "patients"

    name = "toy"
    task = "classification"

    def __init__(self, images: Tensor, labels: Tensor, digest: str = "toy") -> None:
        self.train = ToyDataset(images, labels)
        self.manifest = SimpleNamespace(digest=digest)

    def prepare_data(self) -> None:
        """Nothing to fetch."""

    def setup(self, stage: str) -> None:
        """Nothing to list."""

    def dataset(self, split: str) -> ToyDataset:
        assert split == "train"
        return self.train

    def labels(self, split: str) -> Tensor:
        assert split == "train"
        return self.train.labels


class Noise(Defense):
    """Gaussian noise of deviation 0.1, fresh at each draw."""

    random = True

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        return Prediction(victim(x + 0.1 * normal(seeds, x.shape[1:]).to(x.dtype)))
