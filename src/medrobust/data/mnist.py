"""MNIST: handwritten digits, read from the IDX files that torchvision fetches."""

from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.error import DataError, Origin
from medrobust.data.core.image import ArrayReader
from medrobust.data.core.manifest import Entry
from medrobust.data.core.split import Split, split_groups
from medrobust.data.phantom.canvas import paint
from medrobust.data.phantom.digit import draw_digit
from medrobust.data.phantom.store import class_labels, official_splits

_RAW: Final = "MNIST/raw"
_PARTS: Final = {"train": "train", "test": "t10k"}  # ours -> theirs
_VAL: Final = 0.1  # of the training set
_UBYTE: Final = 8  # code of unsigned bytes in an IDX header


class MNIST(MedicalDataModule):
    """MNIST (LeCun et al. 1998; Deng 2012), with its official test set.

    A tenth of the training set, by class and `split_seed`, is the validation set. Sample ids are
    `mnist/train/<row>` and `mnist/test/<row>`.

    Args:
        root: folder that holds `MNIST/raw`, torchvision's layout.
        manifests: folder for the manifest.
        download: fetch missing files from torchvision's mirrors, checked by their md5.
        **common: see `MedicalDataModule`.
    """

    name = "mnist"
    classes = tuple("0123456789")
    native_channels = 1
    origin = Origin(
        source="LeCun et al. 1998, https://ossci-datasets.s3.amazonaws.com/mnist",
        licence="CC BY-SA 3.0",
        download='data.download=true, or: python -c "import torchvision; '
        "torchvision.datasets.MNIST('data/mnist', download=True)\"",
        layout=f"{_RAW}/{{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte",
    )

    def __init__(
        self, root: str | Path, manifests: str | Path, *, download: bool = False, **common: Any
    ) -> None:
        self.download = download
        super().__init__(root, manifests, **{"size": 28, **common})

    def prepare_data(self) -> None:
        """Draw the phantom, or fetch missing files if `download` is set."""
        super().prepare_data()
        if self.download and not self.phantom:
            from torchvision import datasets

            datasets.MNIST(self.folder, download=True)  # skips existing files

    @cached_property
    def _arrays(self) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        found = {}
        for part, prefix in _PARTS.items():
            images = self._read(f"{prefix}-images-idx3-ubyte", axes=3)
            labels = self._read(f"{prefix}-labels-idx1-ubyte", axes=1)
            if len(images) != len(labels):
                raise DataError(
                    f"{self.folder / _RAW}: {len(images)} images and {len(labels)} labels in the "
                    f"{prefix} files; fetch them again"
                )
            found[part] = images, labels
        return found

    def _read(self, file: str, axes: int) -> NDArray[np.uint8]:
        """Read an IDX file of bytes: two zeros, a type, the number of axes, their lengths, data."""
        path = self.require(self.folder / _RAW / file)
        content = path.read_bytes()
        start = 4 * (axes + 1)
        shape = np.frombuffer(content[4:start].ljust(start - 4, b"\0"), dtype=">u4").astype(int)
        if content[:4] != bytes([0, 0, _UBYTE, axes]) or len(content) != start + shape.prod():
            raise DataError(
                f"{path}: {len(content)} bytes that begin with {content[:4].hex()}, expected an "
                f"unpacked IDX file of bytes with {axes} axes; fetch it again"
            )
        return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)

    def entries(self) -> list[Entry]:
        """List one entry per row of the files."""
        found = []
        for part, (_, labels) in self._arrays.items():
            file = self.folder / _RAW / f"{_PARTS[part]}-images-idx3-ubyte"
            names = [f"{self.name}/{part}/{row}" for row in range(len(labels))]
            splits: list[Split] = (
                split_groups(names, labels.tolist(), self.split_seed, val=_VAL, test=0)
                if part == "train"
                else ["test"] * len(names)
            )
            for row, (name, label, split) in enumerate(
                zip(names, labels.tolist(), splits, strict=True)
            ):
                found.append(Entry(name, label, name, split, (file,), index=row))
        return found

    def reader(self) -> ArrayReader:
        """Return the reader of the files' rows; validation rows are rows of the training file."""
        train, test = self._arrays["train"][0], self._arrays["test"][0]
        arrays = {"train": train, "val": train, "test": test}
        return ArrayReader(arrays, self.size, self.channels, self.native_channels)

    def write_phantom(self, folder: Path) -> None:
        """Draw digits of 28 pixels into IDX files, a seventh of them for testing as published."""
        labels = class_labels(self.phantom_n, [1] * len(self.classes), seed=0)
        pixels = paint(draw_digit, labels, 28, seed=0)
        tested = np.array(official_splits(labels, val=0.1, test=1 / 7)) == "test"
        (folder / _RAW).mkdir(parents=True)
        for prefix, rows in (("train", ~tested), ("t10k", tested)):
            _write(folder / _RAW / f"{prefix}-images-idx3-ubyte", pixels[rows])
            _write(folder / _RAW / f"{prefix}-labels-idx1-ubyte", labels[rows].astype(np.uint8))


def _write(path: Path, values: NDArray[np.uint8]) -> None:
    """Write an IDX file of bytes."""
    header = bytes([0, 0, _UBYTE, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    path.write_bytes(header + values.tobytes())
