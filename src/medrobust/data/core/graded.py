"""Fundus photographs with a table of retinopathy grades, as Kaggle publishes them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from medrobust.data.core.error import DataError
from medrobust.data.core.listing import match_files, read_table
from medrobust.data.phantom.canvas import paint
from medrobust.data.phantom.fundus import draw_fundus
from medrobust.data.phantom.store import class_labels, save_image

GRADES: Final = ("no DR", "mild", "moderate", "severe", "proliferative DR")
_EYE: Final = re.compile(r"_(left|right)$")


def read_grades(
    table: Path, columns: tuple[str, str], folder: Path, suffix: str
) -> dict[str, tuple[int, Path]]:
    """Return the grade and file of each image, in the table's order.

    Args:
        table: CSV file.
        columns: headings of the image's name and of its grade.
        folder: holds `<name><suffix>`.
        suffix: file type of the images.

    Raises:
        DataError: an invalid grade, a duplicate name, a row without image, or an image without row.
    """
    grades: dict[str, int] = {}
    lines: dict[str, int] = {}
    for line, row in read_table(table, columns):
        name, grade = row[columns[0]], row[columns[1]]
        if grade not in {str(g) for g in range(len(GRADES))}:
            raise DataError(f"{table}, line {line}: {columns[1]} {grade!r}, expected 0 to 4")
        if name in lines:
            raise DataError(f"{table}, line {line}: {columns[0]} {name} occurs twice")
        grades[name], lines[name] = int(grade), line
    files = match_files(table, lines, folder, suffix)
    return {name: (grade, files[name]) for name, grade in grades.items()}


def patient(name: str) -> str:
    """Return the patient of an image: `<id>` of EyePACS's `<id>_left`, else the name itself."""
    return _EYE.sub("", name)


def draw_graded(
    folder: Path, names: Sequence[str], suffix: str, table: Path, columns: tuple[str, str], px: int
) -> None:
    """Draw eyes, half of them healthy as in the real sets, and write their table.

    Args:
        folder: folder of the images.
        names: names of the images, without suffix.
        suffix: file type of the images.
        table: CSV file to write.
        columns: headings of the image's name and of its grade.
        px: side in pixels.
    """
    grades = class_labels(len(names), (5, 1.25, 1.25, 1.25, 1.25), seed=0)
    drawn = paint(draw_fundus, grades, px, seed=0)
    lines = [",".join(columns)]
    for name, grade, pixels in zip(names, grades, drawn, strict=True):
        save_image(folder / f"{name}{suffix}", pixels)
        lines.append(f"{name},{grade}")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
