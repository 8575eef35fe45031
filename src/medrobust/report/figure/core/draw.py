"""Draw the figures of a sweep and write them."""

import re
from dataclasses import dataclass
from pathlib import Path

from medrobust.report.figure.core.base import FigureError, Source
from medrobust.report.figure.core.save import PICTURES, saved
from medrobust.report.figure.core.style import paper_style
from medrobust.report.sweep import Sweep
from medrobust.result.store import write_atomically

FOLDER = "figures"
"""Subfolder of a sweep's folder that holds the figures."""


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn.

    Attributes:
        name: file name without ending.
        caption: caption of the figure.
        png: content of the PNG file.
        pdf: content of the PDF file.
        svg: content of the SVG file.
    """

    name: str
    caption: str
    png: bytes
    pdf: bytes
    svg: bytes

    def write(self, folder: Path) -> list[Path]:
        """Write `<name>.png`, `<name>.pdf` and `<name>.svg`, each atomically."""
        paths = []
        for ending, content in zip(PICTURES, (self.png, self.pdf, self.svg), strict=True):
            paths.append(folder / f"{self.name}.{ending}")
            write_atomically(paths[-1], content)
        return paths


def draw(sweep: Sweep) -> tuple[list[Drawn], list[str]]:
    """Draw a sweep's figures.

    Args:
        sweep: the collected sweep; only finished rows are drawn.

    Returns:
        The figures, and one line per figure that could not be drawn.
    """
    rows = tuple(row for row in sweep.rows if row.status == "done")
    failed = tuple(row for row in sweep.rows if row.status != "done")
    source = Source(rows, sweep.pictures, sweep.config.over, failed)
    drawn: dict[str, Drawn] = {}
    problems = []
    for figure in sweep.figures:
        try:
            with paper_style():
                drawings = [
                    (one, {kind: saved(one.canvas, kind) for kind in PICTURES})
                    for one in figure.draw(source)
                ]
        except FigureError as error:
            problems.append(f"figure {figure.name}: {error}")
            continue
        for drawing, files in drawings:
            # A received row or config must not choose a folder.
            first = name = re.sub(r"[^\w.-]", "_", drawing.name).lstrip(".") or "figure"
            number = 2
            while name in drawn:
                name, number = f"{first}_{number}", number + 1
            drawn[name] = Drawn(name, drawing.caption, **files)
    return list(drawn.values()), problems
