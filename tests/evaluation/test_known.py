import logging
from pathlib import Path

import pytest

from medrobust.evaluation.known import known_row
from medrobust.result.store import RowStore
from tests.report.conftest import make_row


def test_a_damaged_row_is_told_and_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, row = RowStore(tmp_path), make_row(0.5)
    store.put(row)
    assert known_row(store, row.id, rerun=False, unsourced=()) == row
    assert known_row(store, row.id, rerun=True, unsourced=()) is None
    path = store.path(row.id)
    path.write_text(path.read_text()[:500])
    with caplog.at_level(logging.WARNING):
        assert known_row(store, row.id, rerun=False, unsourced=()) is None
    assert f"computing again: {path}" in caplog.text
