"""MedRDF's experiments on generated images, from the command line to tables and figures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from medrobust.model.core.checkpoint import VictimMeta, save_victim
from medrobust.result.maps import Maps
from medrobust.result.store import RowStore
from tests.experiment.paper_cells import composed
from tests.support.here import run_here

COMMON = (
    *("trainer=cpu", "logger=none", "data=dermamnist", "data.phantom=true", "data.phantom_n=140"),
    *("data.limit_test=6", "copies=5", "eot_samples=1"),
)
Run = Callable[..., Path]


def untrained(root: Path, *overrides: str) -> None:
    """Write the phantom and a random victim of it, in seconds."""
    config = composed(f"paths.root={root}", *COMMON, *overrides)
    data = instantiate(config.data)
    torch.manual_seed(0)
    victim = instantiate(config.model, data.num_classes)
    meta = VictimMeta(
        data=data.name,
        data_key=data.key,
        data_digest=data.manifest.digest,
        phantom=True,
        task=data.task,
        classes=list(data.classes),
        seed=0,
        epochs=1,
        best_epoch=0,
        recipe={"objective": OmegaConf.to_container(config.objective, resolve=True)},
    )
    save_victim(config.victim_path, victim.freeze(), meta)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs an experiment and returns the folder of its sweep."""

    def call(name: str, *overrides: str) -> Path:
        words = [f"experiment=medrdf/{name}", f"paths.root={tmp_path}", *COMMON, *overrides]
        words.append("+hydra.callbacks.table.formats=[md,png]")
        assert run_here(monkeypatch, "evaluate.py", "-m", *words) == 0
        sweeps = tmp_path / "outputs/sweeps"
        return max(sweeps.iterdir(), key=lambda path: path.name)

    return call


@pytest.mark.slow
def test_figure_3_and_a_row_that_lacked_its_maps(run: Run, tmp_path: Path) -> None:
    untrained(tmp_path, "model=ag_sononet16")
    cell = ["threat=oblivious", "attack.steps=2"]
    run("fig3", *cell, "maps=null", "figure=null")
    store = RowStore(tmp_path / "outputs/rows")
    (row,) = store.rows()
    assert not store.maps(row.id).exists()

    sweep = run("fig3", *cell, "maps.images=3")
    assert {path.name for path in (sweep / "figures").iterdir()} == {
        f"{name}.{ending}"
        for name in ("fig3", "fig3_attention3")
        for ending in ("png", "pdf", "svg")
    }
    (completed,) = store.rows()  # not done again: the time and the day are those of the first run
    assert completed == replace(row, files=["png", "maps.npz", "images.npz"])
    maps = Maps.read(store.maps(row.id))
    assert maps is not None
    assert maps.taps == ("attention3.map", "attention4.map")
    assert len(maps.ids) == 3
    for side in (maps.clean, maps.adversarial):
        for tap in maps.taps:
            assert not np.allclose(side.victim[tap], side.defended[tap])
    first = store.maps(row.id).stat().st_mtime_ns
    run("fig3", *cell, "maps.images=3")
    assert store.maps(row.id).stat().st_mtime_ns == first


@pytest.mark.slow
def test_table_6(run: Run, tmp_path: Path) -> None:
    untrained(tmp_path, "model=ag_sononet16")
    sweep = run("table6", "model=ag_sononet16", "copies=1")
    found = RowStore(tmp_path / "outputs/rows").rows()
    assert len(found) == 7
    assert all(row.metrics.get("abstention_rate", 0.0) == 0 for row in found)
    text = (sweep / "table.md").read_text()
    assert "PHANTOM" in text
    assert "| s.p. | no denoiser |" in text
