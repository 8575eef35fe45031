"""Real cells in workers: the same rows as in one process, each adversarial set made once."""

import subprocess
import sys
from pathlib import Path

import pytest

from medrobust.result.row import Row
from medrobust.result.store import RowStore

pytest.importorskip("joblib", reason="joblib is not installed: pip install 'medrobust[launchers]'")
pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
CELL = ["trainer=cpu", "data=dermamnist", "data.phantom=true", "data.phantom_n=140"]
SWEEP = ["attack=pgd", "attack.steps=20", "defense=none,jpeg", "logger=none"]


def run(name: str, root: Path, *words: str) -> str:
    command = [sys.executable, str(REPOSITORY / name), *words, f"paths.root={root}", *CELL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_workers_give_the_rows_of_one_process(tmp_path: Path) -> None:
    run("train.py", tmp_path, "trainer.max_epochs=1", "progress_bar=false", "logger=none")
    rows: dict[str, list[Row]] = {}
    for launcher in ("basic", "joblib"):
        outputs = tmp_path / launcher
        words = ["-m", f"hydra/launcher={launcher}", f"paths.outputs={outputs}", *SWEEP]
        assert "2 jobs: 2 rows done (0 were there before)" in run("evaluate.py", tmp_path, *words)
        rows[launcher] = sorted(RowStore(outputs / "rows").rows(), key=lambda row: row.id)
        # Both cells need the same set: the second waits for it, and bears its crafting time.
        assert len({row.fingerprints["adversarial_set"] for row in rows[launcher]}) == 1
        assert len({row.seconds["craft"] for row in rows[launcher]}) == 1
    for one, other in zip(rows["basic"], rows["joblib"], strict=True):
        assert (one.id, one.metrics, one.checks) == (other.id, other.metrics, other.checks)
