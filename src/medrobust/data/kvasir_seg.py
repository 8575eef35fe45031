"""Kvasir-SEG: polyps in colonoscopy images, with masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.error import DataError, Origin
from medrobust.data.core.listing import images_in, read_text
from medrobust.data.core.manifest import Entry
from medrobust.data.core.split import Split
from medrobust.data.phantom.canvas import paint_masked
from medrobust.data.phantom.polyp import draw_polyp
from medrobust.data.phantom.store import save_image

_FOLDER: Final = "Kvasir-SEG"
_SPLITS: Final = "splits"
_SPLIT_FILES: Final[dict[Split, str]] = {
    "train": "train.txt",
    "val": "validation.txt",
    "test": "test.txt",
}


class KvasirSEG(MedicalDataModule):
    """Kvasir-SEG (Jha et al., MMM 2020): each pixel is background or polyp.

    There is no official split: files `splits/{train,validation,test}.txt` of image names define it
    if present, else it is 8:1:1. See `MedicalDataModule` for the arguments.
    """

    name = "kvasir_seg"
    task = "segmentation"
    classes = ("background", "polyp")
    origin = Origin(
        source="Jha et al. 2020, https://datasets.simula.no/kvasir-seg/",
        licence="research and education only, with citation",
        download="curl -LO https://datasets.simula.no/downloads/kvasir-seg.zip",
        layout=f"{_FOLDER}/{{images,masks}}/<same name>.jpg, "
        f"optionally {_SPLITS}/{{train,validation,test}}.txt",
    )

    def entries(self) -> list[Entry]:
        """List one entry per image."""
        pictures = images_in(self.require(self.folder / _FOLDER / "images"), (".jpg",))
        masks = images_in(self.require(self.folder / _FOLDER / "masks"), (".jpg",))
        pairs = pair(pictures, masks)
        splits = self._splits(pairs) if (self.folder / _SPLITS).exists() else {}
        return [
            Entry(f"{self.name}/{stem}", None, stem, splits.get(stem), files)
            for stem, files in pairs.items()
        ]

    def _splits(self, stems: Mapping[str, object]) -> dict[str, Split]:
        found: dict[str, Split] = {}
        for split, name in _SPLIT_FILES.items():
            path = self.require(self.folder / _SPLITS / name)
            for number, line in enumerate(read_text(path).split(), start=1):
                stem = line.removesuffix(".jpg")
                if stem not in stems:
                    raise DataError(f"{path}, name {number}: no image {stem}.jpg")
                if stem in found:
                    raise DataError(f"{path}, name {number}: {stem} is also in {found[stem]}")
                found[stem] = split
        for stem in stems:
            if stem not in found:
                raise DataError(f"{self.folder / _SPLITS}: {stem} is in none of its files")
        return found

    def write_phantom(self, folder: Path) -> None:
        """Draw polyps on mucosa."""
        drawn = paint_masked(draw_polyp, self.phantom_n, self.size, seed=0)
        for i, (pixels, mask) in enumerate(zip(*drawn, strict=True)):
            save_image(folder / _FOLDER / "images" / f"phantom{i:04d}.jpg", pixels)
            save_image(folder / _FOLDER / "masks" / f"phantom{i:04d}.jpg", mask)


def pair(pictures: list[Path], masks: list[Path]) -> dict[str, tuple[Path, Path]]:
    """Return the image and mask of each name.

    Raises:
        DataError: an image without a mask, or a mask without an image.
    """
    by_stem = {path.stem: path for path in masks}
    stems = {path.stem for path in pictures}
    for path in pictures:
        if path.stem not in by_stem:
            raise DataError(f"{path}: no mask of this name in {masks[0].parent}")
    for path in masks:
        if path.stem not in stems:
            raise DataError(f"{path}: no image of this name in {pictures[0].parent}")
    return {path.stem: (path, by_stem[path.stem]) for path in pictures}
