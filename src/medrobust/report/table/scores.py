"""Scores of each image of a row, for worst cases and paired tests."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medrobust.result.per_image import PerImage
from medrobust.result.row import Row

Records = Callable[[Row], PerImage | None]
"""Function that returns the record of a row's images, None where it has none."""

Scored = tuple[tuple[str, ...], NDArray[np.float64]]
"""Sample ids, and scores of shape (N,), or (K, N) in K draws of the defense."""

GROUP = "group"
"""Column of the records that numbers the patient or lesion of each image."""

COLUMNS = {"accuracy": "correct", "dice": "dice"}
"""Metrics that are means over images, and the columns of the records that they are means of."""


def no_records(row: Row) -> PerImage | None:
    """Return None: no record of any row is at hand."""
    return None


class Scores:
    """Reads the scores that a metric is the mean of, each row once.

    Args:
        metric: metric of the table.
        records: reads the record of a row's images.
    """

    def __init__(self, metric: str, records: Records) -> None:
        self.column, self.records = COLUMNS.get(metric), records
        self._read: dict[str, tuple[Scored | None, Scored | None]] = {}
        self._groups: dict[str, NDArray[np.int64] | None] = {}

    def mean(self, row: Row) -> Scored | None:
        """Return the score of each image, its mean over the draws; None if it has none."""
        return self._both(row)[0]

    def draws(self, row: Row) -> Scored | None:
        """Return the scores draw by draw; None if one draw of a randomized defense is all."""
        return self._both(row)[1]

    def groups(self, *rows: Row) -> NDArray[np.int64] | None:
        """Return the group of each image, (N,), from the first row of these images that knows it.

        It is None where all are independent.
        """
        for row in rows:
            self._both(row)
        known = (self._groups.get(row.id) for row in rows)
        return next((groups for groups in known if groups is not None), None)

    def _both(self, row: Row) -> tuple[Scored | None, Scored | None]:
        if row.id not in self._read:
            self._read[row.id] = (None, None)
            record = self.records(row) if self.column else None
            if self.column and record is not None and self.column in record.columns:
                self._groups[row.id] = record.columns.get(GROUP)
                mean = _sound(record, record.columns[self.column])
                self._read[row.id] = (mean, _sound(record, record.draws(self.column)))
        return self._read[row.id]


def _sound(record: PerImage, values: NDArray[np.float64] | None) -> Scored | None:
    """Return the scores of all images; None where one has none."""
    if values is None or np.isnan(values).any():
        return None
    return record.ids, values.astype(np.float64)
