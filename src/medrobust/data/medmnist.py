"""2-D MedMNIST datasets (Yang et al., Scientific Data 2023), read from their `.npz` files."""

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.error import DataError, Origin
from medrobust.data.core.image import ArrayReader
from medrobust.data.core.manifest import Entry
from medrobust.data.core.split import SPLITS, Split
from medrobust.data.phantom.canvas import Array, Generator, paint
from medrobust.data.phantom.chest import draw_chest
from medrobust.data.phantom.fundus import draw_fundus
from medrobust.data.phantom.lesion import draw_lesion
from medrobust.data.phantom.store import class_labels, official_splits

Draw = Callable[[Generator, NDArray[np.int64], int], Array]

# Phantoms have imbalanced classes like the real sets, but less so.
_SHARE_POWER: Final = 0.35
# Other sets are drawn as lesions, which come in up to sixteen kinds.
_DRAW: Final[dict[str, Draw]] = {"pneumoniamnist": draw_chest, "retinamnist": draw_fundus}


class MedMNIST(MedicalDataModule):
    """A single-label 2-D MedMNIST dataset by name: dermamnist, pneumoniamnist, bloodmnist, ...

    Splits are the official ones. Sample ids are `<name>/<split>/<row>`.

    Args:
        root: folder with the `.npz` file.
        manifests: folder for the manifest.
        name: name of the dataset in the `medmnist` package.
        source_px: side of the official images to read: 28, or 64, 128, 224 (MedMNIST+).
        file: file name under `root`; null for `<name>.npz`, `<name>_64.npz`, ...
        md5: "official" to check the file against the published sum; null for a custom file.
        download: fetch a missing file from the publisher.
        size: side in pixels; null for `source_px`.
        **common: see `MedicalDataModule`.

    Raises:
        ValueError: the dataset is unknown, or has volumes or several labels per image.
    """

    def __init__(
        self,
        root: str | Path,
        manifests: str | Path,
        *,
        name: str,
        source_px: Literal[28, 64, 128, 224] = 28,
        file: str | None = None,
        md5: Literal["official"] | None = "official",
        download: bool = False,
        size: int | None = None,
        **common: Any,
    ) -> None:
        self._info = _info(name)
        if source_px not in (28, 64, 128, 224):
            raise ValueError(f"data.source_px is {source_px}, expected 28, 64, 128 or 224")
        if md5 not in (None, "official"):
            raise ValueError(f"data.md5 is {md5!r}, expected official or null")
        self.classes = tuple(self._info["label"].values())
        self.graded = self._info["task"] == "ordinal-regression"
        self.native_channels = self._info["n_channels"]
        flag = "" if source_px == 28 else f"_{source_px}"
        self._official = f"{name}{flag}.npz"
        self._url, self._md5 = self._info[f"url{flag}"], self._info[f"MD5{flag}"]
        self.source_px, self.file, self.md5 = source_px, file or self._official, md5
        self.download = download
        self.origin = Origin(
            source="MedMNIST v2, https://medmnist.com",
            licence=self._info["license"],
            download=f"data.download=true, or: curl -L -o {self._official} '{self._url}'",
            layout=f"{self.file} (another name: data.file=NAME.npz data.md5=null)",
        )
        side = source_px if size is None else size
        super().__init__(root, manifests, name=name, size=side, **common)

    def prepare_data(self) -> None:
        """Draw the phantom, or fetch the official file if `download` is set."""
        super().prepare_data()
        path = self.folder / self.file
        if self.download and not self.phantom and not path.exists():
            from torchvision.datasets.utils import download_url

            download_url(self._url, str(self.folder), filename=self.file, md5=self._md5)

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        path = self.require(self.folder / self.file)
        if self.md5 == "official" and not self.phantom:
            with path.open("rb") as opened:
                found = hashlib.file_digest(opened, "md5").hexdigest()
            if found != self._md5:
                raise DataError(
                    f"{path}: md5 {found}, expected {self._md5} of the official {self._official}; "
                    f"fetch it again, or set data.md5=null to use this file as it is"
                )
        try:
            with np.load(path) as npz:
                arrays = {key: npz[key] for key in npz.files}
        except Exception as error:  # a damaged archive can raise almost anything
            raise DataError(f"{path}: not a readable npz file ({error}); fetch it again") from error
        for split in SPLITS:
            self._check_arrays(path, arrays, split)
        return arrays

    def _check_arrays(self, path: Path, arrays: dict[str, NDArray[Any]], split: Split) -> None:
        for key in (f"{split}_images", f"{split}_labels"):
            if key not in arrays:
                raise DataError(f"{path}: no array {key!r}, only {sorted(arrays)}")
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        tail = (3,) if self.native_channels == 3 else ()
        if images.dtype != np.uint8 or images.ndim != 3 + len(tail) or images.shape[3:] != tail:
            raise DataError(
                f"{path}: {split}_images is {images.dtype} {images.shape}, "
                f"expected uint8 {('N', 'H', 'W', *tail)}"
            )
        if labels.dtype.kind not in "iu" or labels.shape != (len(images), 1):
            raise DataError(
                f"{path}: {split}_labels is {labels.dtype} {labels.shape}, "
                f"expected integers of shape ({len(images)}, 1)"
            )
        wrong = np.flatnonzero((labels < 0) | (labels >= self.num_classes))
        if len(wrong):
            raise DataError(
                f"{path}: {split}_labels row {wrong[0]} is {labels[wrong[0], 0]}, "
                f"expected 0 to {self.num_classes - 1}"
            )

    def entries(self) -> list[Entry]:
        """List one entry per row of the arrays."""
        found = []
        for split in SPLITS:
            for row, label in enumerate(self._arrays[f"{split}_labels"][:, 0].tolist()):
                name = f"{self.name}/{split}/{row}"
                files = (self.folder / self.file,)
                found.append(Entry(name, label, name, split, files, index=row))
        return found

    def reader(self) -> ArrayReader:
        """Return the reader of the arrays' rows."""
        images: dict[str, NDArray[np.uint8]] = {s: self._arrays[f"{s}_images"] for s in SPLITS}
        return ArrayReader(images, self.size, self.channels, self.native_channels)

    def write_phantom(self, folder: Path) -> None:
        """Write the arrays under the name that is read, split 7:1:2."""
        labels = class_labels(self.phantom_n, _shares(self.num_classes), seed=0)
        draw = _DRAW.get(self.name, draw_lesion)
        pixels = paint(draw, labels, self.source_px, seed=0)
        if self.native_channels == 1 and pixels.ndim == 4:
            pixels = pixels[..., 1]
        splits = np.array(official_splits(labels, val=0.1, test=0.2))
        arrays: dict[str, NDArray[Any]] = {}
        for split in SPLITS:
            arrays[f"{split}_images"] = pixels[splits == split]
            arrays[f"{split}_labels"] = labels[splits == split, None].astype(np.uint8)
        with (folder / self.file).open("wb") as opened:
            np.savez_compressed(opened, allow_pickle=False, **arrays)


def _info(name: str) -> dict[str, Any]:
    from medmnist import INFO  # heavy, so imported where it is needed

    flat = {
        key: value
        for key, value in INFO.items()
        if "3d" not in key and not value["task"].startswith("multi-label")
    }
    if name not in flat:
        raise ValueError(f"data.name is {name!r}, expected a single-label 2-D set: {sorted(flat)}")
    return dict(flat[name])


def _shares(classes: int) -> list[float]:
    return [(c + 1) ** -_SHARE_POWER for c in range(classes)]
