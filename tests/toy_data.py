"""As much of a datamodule as an attack that learns asks for."""

from types import SimpleNamespace
from typing import Any

from torch import Tensor

from medrobust.data.dataset import Sample


class Samples(list[Sample]):
    @property
    def entries(self) -> list[Any]:
        return [
            SimpleNamespace(id=name, label=int(label) if label.ndim == 0 else None)
            for _, label, name in self
        ]


class Data:
    """A training split of given images."""

    def __init__(self, images: Tensor, labels: Tensor, digest: str = "a") -> None:
        self.manifest = SimpleNamespace(digest=digest)
        self.samples = Samples(
            Sample(image, label, f"toy/{i}")
            for i, (image, label) in enumerate(zip(images, labels, strict=True))
        )

    def prepare_data(self) -> None:
        pass

    def setup(self, stage: str) -> None:
        pass

    def dataset(self, split: str) -> Samples:
        assert split == "train"
        return self.samples
