"""Give a cell's row to a logger, whether it was computed now, was there before, or failed."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medrobust.logger.base import CellLogger, Picture
from medrobust.result.row import Row


def log_cell(logger: CellLogger, row: Row, pictures: Mapping[str, Picture]) -> None:
    """Log one cell and end its run.

    Args:
        logger: new; finished here.
        row: done or failed.
        pictures: strips by sample id; see `evaluation.strip`.
    """
    logger.log_row(row)
    if row.confusion is not None:
        logger.log_confusion(row.confusion, row.classes)
    if pictures:
        captions = [f"{name}: clean, adversarial, defended, difference" for name in pictures]
        logger.log_images("strip", list(pictures.values()), captions)
    logger.finish()


def kept_pictures(path: Path) -> dict[str, Picture]:
    """Strips of a row that was there before, as small as its sheet has them.

    Args:
        path: written from `evaluation.strip.sheet`; it need not be there.

    Returns:
        sample id -> uint8 array (H, 4 W, 3).
    """
    if not path.exists():
        return {}
    from PIL import Image

    with Image.open(path) as image:
        names = image.info["Description"].split("\n")
        sheet = np.asarray(image.convert("RGB"))
    return dict(zip(names, np.array_split(sheet, len(names)), strict=True))
