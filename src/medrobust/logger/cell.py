"""Log a cell's row, whether it is new, was computed before, or failed."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medrobust.logger.base import CellLogger, Picture
from medrobust.result.picture import PictureError, read_picture
from medrobust.result.row import Row

_log = logging.getLogger(__name__)


def log_cell(logger: CellLogger, row: Row, pictures: Mapping[str, Picture]) -> None:
    """Log one cell and end its run.

    Args:
        logger: a new logger, which is finished here.
        row: finished or failed row.
        pictures: strips by sample id; see `evaluation.record.pictures`.
    """
    logger.log_row(row)
    if row.confusion is not None:
        logger.log_confusion(row.confusion, row.classes)
    if pictures:
        captions = [f"{name}: clean, adversarial, defended, difference" for name in pictures]
        logger.log_images("strip", list(pictures.values()), captions)
    logger.finish()


def kept_pictures(path: Path) -> dict[str, Picture]:
    """Return the stored strips of an earlier row, in the size of its sheet.

    Args:
        path: file made by `evaluation.record.pictures.sheet`, which may not exist; a damaged one
            is logged and skipped.

    Returns:
        Sample id -> uint8 array (H, 4 W, 3).
    """
    try:
        found = read_picture(path)
    except PictureError as error:
        _log.warning("%s; it is not logged", error)
        return {}
    if found is None:
        return {}
    names = found.samples
    return dict(zip(names, np.array_split(found.pixels, len(names)), strict=True))
