"""ISIC 2019 challenge, training part: eight kinds of skin lesion."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.error import DataError, Origin
from medrobust.data.core.listing import match_files, read_table
from medrobust.data.core.manifest import Entry
from medrobust.data.phantom.canvas import paint
from medrobust.data.phantom.lesion import draw_lesion
from medrobust.data.phantom.store import class_labels, save_image

_IMAGES: Final = "ISIC_2019_Training_Input"
_TRUTH: Final = "ISIC_2019_Training_GroundTruth.csv"
_META: Final = "ISIC_2019_Training_Metadata.csv"
_META_COLUMNS: Final = ("image", "lesion_id")
_UNKNOWN: Final = "UNK"


class ISIC2019(MedicalDataModule):
    """ISIC 2019 (Tschandl 2018, Codella 2018, Combalia 2019), classes in the challenge's order.

    The test labels were never published, so the training images are split 8:1:1, by class. Images
    of one lesion share a split if the official metadata file, which names lesions, lies next to the
    ground truth. The challenge's UNK class, empty in training, is left out. See `MedicalDataModule`
    for the arguments.
    """

    name = "isic2019"
    classes = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
    grouped_by = "lesions"
    origin = Origin(
        source="ISIC 2019 challenge, https://challenge.isic-archive.com/data/#2019",
        licence="CC BY-NC 4.0",
        download=f"curl -LO https://isic-archive.s3.amazonaws.com/challenges/2019/{_IMAGES}.zip "
        f"-O https://isic-archive.s3.amazonaws.com/challenges/2019/{_TRUTH} "
        f"-O https://isic-archive.s3.amazonaws.com/challenges/2019/{_META}",
        layout=f"{_IMAGES}/ISIC_*.jpg, {_TRUTH}, optionally {_META}",
    )

    def entries(self) -> list[Entry]:
        """List one entry per row of the ground truth, in its order."""
        table = self.require(self.folder / _TRUTH)
        folder = self.require(self.folder / _IMAGES)
        labels: dict[str, int] = {}
        lines: dict[str, int] = {}
        for line, row in read_table(table, ("image", *self.classes)):
            columns = (*self.classes, _UNKNOWN) if _UNKNOWN in row else self.classes
            try:
                marked = [c for c in columns if float(row[c]) == 1]
                others = [c for c in columns if float(row[c]) not in (0, 1)]
            except ValueError as error:
                raise DataError(f"{table}, line {line}: {error}") from error
            if len(marked) != 1 or others:
                raise DataError(
                    f"{table}, line {line}: {row['image']} has 1 in {marked}, "
                    f"expected 1 in one of {list(columns)} and 0 in the rest"
                )
            if row["image"] in lines:
                raise DataError(f"{table}, line {line}: {row['image']} occurs twice")
            lines[row["image"]] = line
            if marked[0] != _UNKNOWN:
                labels[row["image"]] = self.classes.index(marked[0])
        files = match_files(table, lines, folder, ".jpg")
        lesions = self._lesions(lines)
        return [
            Entry(f"{self.name}/{i}", label, lesions.get(i) or i, None, (files[i],))
            for i, label in labels.items()
        ]

    def _lesions(self, images: Collection[str]) -> dict[str, str]:
        path = self.folder / _META
        if not path.exists():
            return {}
        found = {}
        for line, row in read_table(path, _META_COLUMNS):
            if row["image"] not in images:
                raise DataError(f"{path}, line {line}: {row['image']} is no image of {_TRUTH}")
            found[row["image"]] = row["lesion_id"]
        for image in images:
            if image not in found:
                raise DataError(f"{path}: no row for {image}, so that its lesion is not known")
        return found

    def write_phantom(self, folder: Path) -> None:
        """Draw lesions, with NV and MEL the most frequent as in the real set."""
        labels = class_labels(self.phantom_n, (2, 3, 2, 1, 1.5, 1, 1, 1), seed=0)
        lines = ["image," + ",".join((*self.classes, _UNKNOWN))]
        for i, pixels in enumerate(paint(draw_lesion, labels, self.size, seed=0)):
            save_image(folder / _IMAGES / f"ISIC_{i:07d}.jpg", pixels)
            marks = [f"{float(labels[i] == c)}" for c in range(self.num_classes + 1)]
            lines.append(",".join([f"ISIC_{i:07d}", *marks]))
        (folder / _TRUTH).write_text("\n".join(lines) + "\n", encoding="utf-8")
