"""Kaggle-DR (EyePACS): diabetic retinopathy in five grades, a sample of the training images."""

import logging
from pathlib import Path
from typing import Any, Final

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.error import DataError, Origin
from medrobust.data.core.graded import GRADES, draw_graded, patient, read_grades
from medrobust.data.core.manifest import Entry
from medrobust.data.core.split import rank
from medrobust.number import whole

_IMAGES: Final = "train"
_TABLE: Final = "trainLabels.csv"
_COLUMNS: Final = ("image", "level")

_log = logging.getLogger(__name__)


class KaggleDR(MedicalDataModule):
    """Diabetic Retinopathy Detection (EyePACS, Kaggle 2015), labelled images only, split 8:1:1.

    Qi et al. 2021 draw 11 000 of the 35 126 images at random, without details. Ours are drawn by
    `split_seed`, image by image, regardless of grade and patient, and then split by grade; both
    eyes of a patient share a split.

    Args:
        root: folder with the images and their table.
        manifests: folder for the manifest.
        draw: number of images; None for all. A folder with fewer is used whole, with a warning.
        **common: see `MedicalDataModule`.

    Raises:
        NumberError: `draw` is not a whole number, or below 1.
    """

    name = "kaggle_dr"
    classes = GRADES
    graded = True
    origin = Origin(
        source="EyePACS, https://www.kaggle.com/competitions/diabetic-retinopathy-detection",
        licence="Kaggle competition rules; research only",
        download="kaggle competitions download -c diabetic-retinopathy-detection",
        layout=f"{_IMAGES}/<id>_{{left,right}}.jpeg, {_TABLE} (image,level)",
    )

    def __init__(
        self, root: str | Path, manifests: str | Path, *, draw: int | None = 11000, **common: Any
    ) -> None:
        self.draw = None if draw is None else whole(draw, "data.draw", low=1)
        super().__init__(root, manifests, **common)

    def entries(self) -> list[Entry]:
        """List one entry per drawn image, in the table's order."""
        table, folder = self.require(self.folder / _TABLE), self.require(self.folder / _IMAGES)
        found = read_grades(table, _COLUMNS, folder, ".jpeg")
        for name in found:
            if patient(name) == name:
                raise DataError(f"{table}: {_COLUMNS[0]} {name}, expected <id>_left or <id>_right")
        drawn = self._drawn(list(found))
        return [
            Entry(f"{self.name}/{name}", grade, patient(name), None, (file,))
            for name, (grade, file) in found.items()
            if name in drawn
        ]

    def _drawn(self, names: list[str]) -> set[str]:
        """Return the drawn images; a smaller draw is a subset of a larger one."""
        wanted, count = self.draw, len(names)
        if wanted is not None and wanted > count and not self.phantom:
            _log.warning("%s: only %d images for data.draw=%d", self.name, count, wanted)
        return set(sorted(names, key=lambda name: (rank(self.split_seed, name), name))[:wanted])

    def write_phantom(self, folder: Path) -> None:
        """Draw eyes in pairs, half of them healthy as in the real set."""
        names = [f"{i // 2}_{('left', 'right')[i % 2]}" for i in range(self.phantom_n)]
        draw_graded(folder / _IMAGES, names, ".jpeg", folder / _TABLE, _COLUMNS, self.size)
