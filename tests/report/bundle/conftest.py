"""A sweep that may be published: real rows of one committed code, with records."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medrobust.result.per_image import PerImage
from medrobust.result.row import Row
from medrobust.result.store import RowStore
from tests.report.conftest import make_row

TABLE = {"title": "A table", "rows": ["defense"], "columns": ["attack"]}
RIGHT = {"pgd": [1, 0, 1, 0], "bim": [1, 1, 1, 0]}
CODE = {"package": "a" * 64, "outside": {}, "changed": []}


def fit(attack: str, **more: Any) -> Row:
    """A row that may be published, whose accuracy is the mean of `RIGHT`."""
    accuracy = more.pop("accuracy", float(np.mean(RIGHT[attack])))
    given = {"code": CODE, "files": ["images.npz"], "clean_confusion": [[3, 0], [0, 1]], **more}
    return make_row(accuracy, attack=attack, n=4, **given)


def write_record(store: RowStore, row: Row) -> None:
    """Write the record of a row's images."""
    right = np.array(RIGHT[row.cell["attack"]], dtype=np.float64)
    record = PerImage(("a", "b", "c", "d"), {"correct": right}, random=False)
    record.write(store.per_image(row.id))


@pytest.fixture
def published(
    sweep_folder: Callable[..., Path], tmp_path: Path
) -> Callable[[Sequence[Row] | None], Path]:
    """Writes a sweep folder with records; by default of two rows."""

    def write(rows: Sequence[Row] | None = None) -> Path:
        rows = [fit("pgd"), fit("bim")] if rows is None else rows
        folder = sweep_folder(rows, TABLE)
        for row in rows:
            write_record(RowStore(tmp_path / "rows"), row)
        return folder

    return write
