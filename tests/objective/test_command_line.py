"""train.py with an objective of robust training, and evaluate.py on what it left."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medrobust.model.core.checkpoint import read_meta

ROOT = Path(__file__).parents[2]
SETTINGS = [
    "data=dermamnist", "data.phantom=true", "data.phantom_n=100", "model=mobilenet_v2",
    "model.network=mobilenetv2_050", "trainer=cpu", "objective=trades", "logger=none",
]  # fmt: skip


def call(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / script), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_trained_and_evaluated_under_the_name_of_the_objective(tmp_path: Path) -> None:
    words = [*SETTINGS, f"paths.root={tmp_path}"]
    few = ["objective.steps=1", "objective.val_steps=1"]
    done = call("train.py", *words, *few, "trainer.max_epochs=1", "progress_bar=false")
    assert done.returncode == 0, done.stderr
    assert "val/robust_accuracy" in done.stdout
    path = tmp_path / "checkpoints/dermamnist_28px_phantom/mobilenet_v2/trades/seed_0.ckpt"
    meta = read_meta(path)
    assert meta.recipe["objective"]["beta"] == 6.0
    assert meta.seconds > 0
    done = call("evaluate.py", *words, *few, "attack=none", "data.limit_test=8")
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("outputs/**/rows/*.json")
    row = json.loads(path.read_text())
    assert row["cell"]["objective"] == "trades"
    assert row["seconds"]["training"] == pytest.approx(meta.seconds)
