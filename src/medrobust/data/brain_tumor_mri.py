"""Brain Tumor MRI Dataset: slices with one of three tumours, or none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.error import Origin
from medrobust.data.core.listing import check_classes, images_in
from medrobust.data.core.manifest import Entry
from medrobust.data.core.split import Split, split_groups
from medrobust.data.phantom.canvas import paint
from medrobust.data.phantom.mri import draw_mri
from medrobust.data.phantom.store import class_labels, official_splits, save_image

_TRAIN, _TEST = "Training", "Testing"
_PREFIX: Final = {"train": "Tr", "val": "Tr", "test": "Te"}
_VAL: Final = 0.1


class BrainTumorMRI(MedicalDataModule):
    """Brain Tumor MRI Dataset (Nickparvar 2021), with its published Training and Testing folders.

    A tenth of Training, by class and seed, is the validation set. Patients are not named, and both
    folders are known to share images; the loader warns of exact duplicates. See `MedicalDataModule`
    for the arguments.
    """

    name = "brain_tumor_mri"
    classes = ("glioma", "meningioma", "notumor", "pituitary")
    native_channels = 1
    origin = Origin(
        source="Nickparvar 2021, "
        "https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset",
        licence="CC0 (its parts' own terms differ)",
        download="kaggle datasets download masoudnickparvar/brain-tumor-mri-dataset --unzip",
        layout=f"{{{_TRAIN},{_TEST}}}/{{glioma,meningioma,notumor,pituitary}}/*.jpg",
    )

    def entries(self) -> list[Entry]:
        """List one entry per file; those of Training have no split yet."""
        found = []
        for part in (_TRAIN, _TEST):
            split: Split | None = "test" if part == _TEST else None
            check_classes(self.require(self.folder / part), self.classes)
            for label, name in enumerate(self.classes):
                for path in images_in(self.require(self.folder / part / name), (".jpg",)):
                    identity = f"{self.name}/{part}/{name}/{path.stem}"
                    found.append(Entry(identity, label, identity, split, (path,)))
        return found

    def assign(self, entries: Sequence[Entry]) -> list[Split]:
        """Use Testing as the test set, and cut validation from Training."""
        training = [e for e in entries if e.split is None]
        groups, labels = [e.group for e in training], [e.label for e in training]
        drawn = split_groups(groups, labels, self.split_seed, val=_VAL, test=0)
        cut = dict(zip(groups, drawn, strict=True))
        return [e.split or cut[e.group] for e in entries]

    def write_phantom(self, folder: Path) -> None:
        """Draw heads, a fifth of them for testing."""
        labels = class_labels(self.phantom_n, (1, 1, 1, 1), seed=0)
        splits = official_splits(labels, val=0.1, test=0.2)
        for i, pixels in enumerate(paint(draw_mri, labels, self.size, seed=0)):
            part = _TEST if splits[i] == "test" else _TRAIN
            name = self.classes[labels[i]]
            stem = f"{_PREFIX[splits[i]]}-{name[:2]}_{i:04d}"
            save_image(folder / part / name / f"{stem}.jpg", pixels)
