"""A Slurm cluster on this machine and a trained victim, for the tests of this folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import cluster

REPOSITORY = Path(__file__).parents[2]
CELL = [
    "trainer=cpu",
    "data=dermamnist",
    "data.phantom=true",
    "data.phantom_n=140",
    "model=resnet18",
]


@pytest.fixture(scope="package")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which programs find a running cluster."""
    if absent := cluster.missing():
        pytest.skip(f"Slurm is not installed ({', '.join(absent)}): apt install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    config = cluster.start(folder)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    yield {**kept, **cluster.ENVIRONMENT, "SLURM_CONF": str(config)}
    cluster.stop(folder)


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a phantom and a victim trained on it for an epoch."""
    root = tmp_path_factory.mktemp("trained")
    words = ["trainer.max_epochs=1", "progress_bar=false", "logger=none", f"paths.root={root}"]
    command = [sys.executable, str(REPOSITORY / "train.py"), *CELL, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return root
