"""MDDA's experiments run end to end on generated images, narrowed and with short attacks."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PHANTOM = ("data=isic2019", "data.phantom=true", "data.phantom_n=240", "data.size=32")


def call(script: str, root: Path, *words: str) -> str:
    flags = [word for word in words if word == "-m"]
    rest = [word for word in words if word != "-m"]
    always = [f"paths.root={root}", "trainer=cpu", *PHANTOM]
    command = [sys.executable, str(ROOT / script), *flags, *always, *rest]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_tables_and_figures_on_generated_images(tmp_path: Path) -> None:
    models = "model=resnet18,mobilenet_v2"
    train = ("trainer.max_epochs=1", "progress_bar=false", "logger=none")
    call("train.py", tmp_path, "-m", models, *train)
    few = ("data.limit_test=8", "attack.steps=2", "eot_samples=2", "logger=csv")
    told = call(
        *("evaluate.py", tmp_path, "-m", "experiment=mdda/table2", "model=resnet18", *few),
        *("attack=mdda/bim,mdda/pgd", "defense=none,bit_depth,mdda/n5,mdda/n3"),
    )
    assert "Oblivious: " in told
    assert "Adaptive: " in told
    assert "16 jobs: 16 rows done" in told
    told = call(
        *("evaluate.py", tmp_path, "-m", "experiment=mdda/table3", *few),
        *("model@threat.surrogate_model=resnet18", "attack=mdda/bim,mdda/pgd"),
        "defense=none,mdda/n3",
    )
    assert "surrogate resnet18" in told
    told = call(
        *("evaluate.py", tmp_path, "-m", "experiment=mdda/fig4", "model=resnet18", *few),
        "defense=bit_depth,mdda/n5",
    )
    assert "figures/fig4.png" in told
