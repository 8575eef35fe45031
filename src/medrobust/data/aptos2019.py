"""APTOS 2019 blindness detection: diabetic retinopathy in five grades on fundus photographs."""

from pathlib import Path
from typing import Final

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.error import Origin
from medrobust.data.core.graded import GRADES, draw_graded, patient, read_grades
from medrobust.data.core.manifest import Entry

_IMAGES: Final = "train_images"
_TABLE: Final = "train.csv"
_COLUMNS: Final = ("id_code", "diagnosis")


class APTOS2019(MedicalDataModule):
    """APTOS 2019, labelled images only, split 8:1:1 by grade.

    Images named `<id>_left` and `<id>_right` (EyePACS) are one patient and share a split. See
    `MedicalDataModule` for the arguments.
    """

    name = "aptos2019"
    classes: tuple[str, ...] = GRADES
    graded = True
    origin = Origin(
        source="APTOS 2019, https://www.kaggle.com/competitions/aptos2019-blindness-detection",
        licence="Kaggle competition rules; research only",
        download="kaggle competitions download -c aptos2019-blindness-detection",
        layout=f"{_IMAGES}/<id_code>.png, {_TABLE} (id_code,diagnosis)",
    )

    def entries(self) -> list[Entry]:
        """List one entry per row of the table, in its order."""
        table, folder = self.require(self.folder / _TABLE), self.require(self.folder / _IMAGES)
        return [
            Entry(f"{self.name}/{name}", self.label(grade), patient(name), None, (file,))
            for name, (grade, file) in read_grades(table, _COLUMNS, folder, ".png").items()
        ]

    def label(self, grade: int) -> int:
        """Return the class of a grade, 0 to 4."""
        return grade

    def write_phantom(self, folder: Path) -> None:
        """Draw eyes, half of them healthy as in the real set."""
        names = [f"{i:012x}" for i in range(self.phantom_n)]
        draw_graded(folder / _IMAGES, names, ".png", folder / _TABLE, _COLUMNS, self.size)
