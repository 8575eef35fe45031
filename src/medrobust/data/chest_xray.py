"""Chest X-Ray Images (Pneumonia): children's chest X-rays, normal or pneumonia."""

import re
from pathlib import Path
from typing import Final

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.error import Origin
from medrobust.data.core.listing import check_classes, images_in
from medrobust.data.core.manifest import Entry
from medrobust.data.core.split import SPLITS
from medrobust.data.phantom.canvas import paint
from medrobust.data.phantom.chest import draw_chest
from medrobust.data.phantom.store import class_labels, official_splits, save_image

_FOLDER: Final = "chest_xray"
_PATIENT: Final = re.compile(r"^(person\d+|(?:NORMAL2-)?IM-\d+)")


class ChestXRay(MedicalDataModule):
    """Chest X-Ray Images (Kermany et al., Cell 2018), in its published train, val and test folders.

    The published val folder holds 16 images only. See `MedicalDataModule` for the arguments.
    """

    name = "chest_xray"
    classes = ("NORMAL", "PNEUMONIA")
    native_channels = 1
    origin = Origin(
        source="Kermany et al. 2018, https://doi.org/10.17632/rscbjbr9sj.2",
        licence="CC BY 4.0",
        download="kaggle datasets download paultimothymooney/chest-xray-pneumonia --unzip",
        layout=f"{_FOLDER}/{{train,val,test}}/{{NORMAL,PNEUMONIA}}/*.jpeg",
    )

    def entries(self) -> list[Entry]:
        """List one entry per file; the group is the patient in the file name."""
        found = []
        for split in SPLITS:
            folder = self.require(self.folder / _FOLDER / split)
            check_classes(folder, self.classes)
            for label, name in enumerate(self.classes):
                for path in images_in(self.require(folder / name), (".jpeg",)):
                    identity = f"{self.name}/{split}/{name}/{path.stem}"
                    found.append(Entry(identity, label, patient(path.stem), split, (path,)))
        return found

    def write_phantom(self, folder: Path) -> None:
        """Draw chests, split 8:1:1."""
        labels = class_labels(self.phantom_n, (1, 1), seed=0)
        splits = official_splits(labels, val=0.1, test=0.1)
        for i, pixels in enumerate(paint(draw_chest, labels, self.size, seed=0)):
            stem = f"person{i}_bacteria_{i}" if labels[i] else f"IM-{i:04d}-0001"
            inside = folder / _FOLDER / splits[i] / self.classes[labels[i]]
            save_image(inside / f"{stem}.jpeg", pixels)


def patient(stem: str) -> str:
    """Return the patient in a file name, such as `person12_virus_34` or `NORMAL2-IM-0123-0001`."""
    match = _PATIENT.match(stem)
    return match[1] if match else stem
