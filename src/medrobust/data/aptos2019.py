"""APTOS 2019 blindness detection: diabetic retinopathy in five grades on fundus photographs."""

import re
from pathlib import Path
from typing import Final

from medrobust.data.base import MedicalDataModule
from medrobust.data.error import DataError, Origin
from medrobust.data.listing import match_files, read_table
from medrobust.data.manifest import Entry
from medrobust.data.phantom.canvas import paint
from medrobust.data.phantom.fundus import draw_fundus
from medrobust.data.phantom.store import class_labels, save_image

_IMAGES: Final = "train_images"
_TABLE: Final = "train.csv"
_EYE: Final = re.compile(r"_(left|right)$")
_GRADES: Final = ("no DR", "mild", "moderate", "severe", "proliferative DR")


class APTOS2019(MedicalDataModule):
    """APTOS 2019, labelled images only, split 8:1:1 by grade.

    Images named `<id>_left` and `<id>_right` (EyePACS) are one patient and share a split. See
    `MedicalDataModule` for the arguments.
    """

    name = "aptos2019"
    classes: tuple[str, ...] = _GRADES
    origin = Origin(
        source="APTOS 2019, https://www.kaggle.com/competitions/aptos2019-blindness-detection",
        licence="Kaggle competition rules; research only",
        download="kaggle competitions download -c aptos2019-blindness-detection",
        layout=f"{_IMAGES}/<id_code>.png, {_TABLE} (id_code,diagnosis)",
    )

    def entries(self) -> list[Entry]:
        """One entry per row of the table, in its order."""
        table = self.require(self.folder / _TABLE)
        folder = self.require(self.folder / _IMAGES)
        grades: dict[str, int] = {}
        lines: dict[str, int] = {}
        for line, row in read_table(table, ("id_code", "diagnosis")):
            name, grade = row["id_code"], row["diagnosis"]
            if grade not in {str(g) for g in range(len(_GRADES))}:
                raise DataError(f"{table}, line {line}: diagnosis {grade!r}, expected 0 to 4")
            if name in lines:
                raise DataError(f"{table}, line {line}: id_code {name} is there twice")
            grades[name], lines[name] = int(grade), line
        files = match_files(table, lines, folder, ".png")
        return [
            Entry(f"{self.name}/{i}", self.label(g), _EYE.sub("", i), None, (files[i],))
            for i, g in grades.items()
        ]

    def label(self, grade: int) -> int:
        """Class of a grade, 0 to 4."""
        return grade

    def write_phantom(self, folder: Path) -> None:
        """Draw eyes, half of them healthy as in the real set."""
        grades = class_labels(self.phantom_n, (5, 1.25, 1.25, 1.25, 1.25), seed=0)
        lines = ["id_code,diagnosis"]
        for i, pixels in enumerate(paint(draw_fundus, grades, self.size, seed=0)):
            save_image(folder / _IMAGES / f"{i:012x}.png", pixels)
            lines.append(f"{i:012x},{grades[i]}")
        (folder / _TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
