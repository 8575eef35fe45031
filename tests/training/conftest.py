"""Tiny data and victims, so that a training takes a second."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medrobust.data.core.base import Sample
from medrobust.logger.null import NullLogger
from medrobust.model.core.victim import Victim
from medrobust.objective.standard import Standard
from medrobust.training.victim.train import train


class Data:
    """Bright or dark images; for segmentation and detection, a bright square on a dark ground."""

    name = "blobs"
    key = "blobs_8px"
    phantom = True
    classes = ("dark", "bright")
    num_classes = 2
    channels = 3
    size = 8
    batch_size = 8

    def __init__(self, task: str = "classification", digest: str = "0" * 64) -> None:
        self.task = task
        self.manifest = type("Manifest", (), {"digest": digest})()
        generator = torch.Generator().manual_seed(0)
        self.samples = [self._draw(i, generator) for i in range(32)]

    def _draw(self, index: int, generator: torch.Generator) -> Sample:
        image = 0.4 * torch.rand(3, 8, 8, generator=generator)
        label = torch.tensor(index % 2)
        if self.task == "segmentation":
            label = torch.zeros(8, 8, dtype=torch.int64)
            row = index % 4
            label[row : row + 4, 2:6] = 1
        if self.task == "detection":
            return self._boxed(index, image)
        image = image + 0.6 * label
        return Sample(image.float(), label, f"blobs/{index}")

    def _boxed(self, index: int, image: Tensor) -> Sample:
        row, kind = index % 4, index // 4 % 2
        image[kind :: 3 - kind, row : row + 4, 2:6] += 0.6
        large = torch.nn.functional.interpolate(image[None], scale_factor=4.0)[0]
        box = torch.tensor([kind, 8.0, 4 * row, 24, 4 * row + 16])
        label = torch.stack([box, torch.tensor([-1.0, 0, 0, 0, 0])])
        return Sample(large.clamp(0, 1), label, f"blobs/{index}")

    def dataset(self, split: str) -> Sequence[Sample]:
        return self.samples

    def labels(self, split: str) -> Tensor:
        return torch.stack([sample.label for sample in self.samples])

    def train_dataloader(self) -> DataLoader[Sample]:
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**63)
        return DataLoader(self.samples, 8, shuffle=True, generator=generator)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Sample]:
        return DataLoader(self.samples, 8)  # type: ignore[arg-type]

    test_dataloader = val_dataloader


def classifier(num_classes: int) -> Victim:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(),
        nn.Linear(144, num_classes),
    )  # fmt: skip
    return _victim(net)


def segmenter(num_classes: int) -> Victim:
    return _victim(nn.Conv2d(3, num_classes, 3, padding=1))


def _victim(net: nn.Module) -> Victim:
    architecture = {
        "builder": "resnet", "num_classes": 2, "name": "tiny", "network": "resnet18",
    }  # fmt: skip
    return Victim(net, mean=[0.5] * 3, std=[0.5] * 3, architecture=architecture)


Train = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Train:
    """`train` on tiny data; keyword arguments replace the defaults."""

    def call(**changes: Any) -> Any:
        epochs = changes.pop("max_epochs", 3)
        arguments: dict[str, Any] = {
            "model": classifier,
            "data": Data(),
            "objective": Standard(),
            "optimizer": lambda weights: torch.optim.Adam(weights, lr=0.01),
            "scheduler": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs),
            "trainer": {"accelerator": "cpu", "devices": 1, "max_epochs": epochs},
            "logger": NullLogger(),
            "checkpoint": tmp_path / "victim.ckpt",
            "recipe": {"model": {"name": "tiny"}},
            "seed": 0,
            "progress_bar": False,
        }
        return train(**(arguments | changes))

    return call


@pytest.fixture
def segmentation() -> dict[str, Any]:
    """Arguments of a training on masks."""
    return {"data": Data("segmentation"), "model": segmenter}


@pytest.fixture
def data() -> Data:
    """Images to classify."""
    return Data()


@pytest.fixture
def victim() -> Victim:
    """A frozen classifier of them, with weights as drawn."""
    torch.manual_seed(0)
    return classifier(2).freeze()


@pytest.fixture
def other_data() -> Data:
    """The same images under another manifest."""
    return Data(digest="1" * 64)
