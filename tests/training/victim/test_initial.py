from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medrobust.model.core.checkpoint import VictimMeta, load_victim, save_victim
from medrobust.model.resnet import build
from medrobust.training.checkpoint_path import AlreadyTrainedError
from medrobust.training.victim.initial import InitialCheckpointError, load_initial
from tests.support.here import run_here

Train = Callable[..., Any]

small = partial(build, name="resnet10t", network="resnet10t")
still = partial(torch.optim.SGD, lr=0.0)


def stored(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def weights(path: Path) -> dict[str, Tensor]:
    """Those that a gradient moves; training moves batch norm's statistics without one."""
    state = stored(path)["state_dict"]
    return {key: value for key, value in state.items() if "running" not in key}


@pytest.fixture
def first(run: Train, tmp_path: Path) -> Path:
    """A victim of one epoch."""
    path = tmp_path / "first.ckpt"
    run(model=small, max_epochs=1, checkpoint=path)
    return path


def test_a_training_starts_from_its_weights_and_says_so(
    run: Train, first: Path, tmp_path: Path
) -> None:
    scratch, tuned = tmp_path / "scratch.ckpt", tmp_path / "tuned.ckpt"
    how = {"model": small, "max_epochs": 1, "optimizer": still, "scheduler": None, "seed": 1}
    run(checkpoint=scratch, **how)
    trained = load_victim(first, train_command="")
    save_victim(first, trained, replace(trained.meta, seconds=1e6))
    meta = run(checkpoint=tuned, initial_checkpoint=first, **how)
    before, after, other = (weights(path) for path in (first, tuned, scratch))
    assert all(torch.equal(after[key], before[key]) for key in before if "num_batches" not in key)
    assert not torch.equal(other["network.fc.weight"], before["network.fc.weight"])
    started = stored(first)
    assert meta.recipe["initial"] == started["fingerprint"]
    assert 1e6 < meta.seconds < 1e6 + 600
    assert meta.epochs == 1


def test_other_weights_to_start_from_are_another_recipe(
    run: Train, first: Path, tmp_path: Path
) -> None:
    tuned, second = tmp_path / "tuned.ckpt", tmp_path / "second.ckpt"
    run(model=small, max_epochs=1, checkpoint=second, seed=2)
    how = {"model": small, "max_epochs": 1, "checkpoint": tuned}
    made = run(initial_checkpoint=first, **how)
    assert run(initial_checkpoint=str(first), **how) == made
    for other in (second, None):
        with pytest.raises(AlreadyTrainedError, match=f"initial: {made.recipe['initial']} -> "):
            run(initial_checkpoint=other, **how)


def test_another_network_is_refused(run: Train, first: Path, tmp_path: Path) -> None:
    how = {"max_epochs": 1, "initial_checkpoint": first, "checkpoint": tmp_path / "tuned.ckpt"}
    wide = partial(build, name="resnet18", network="resnet18")
    with pytest.raises(InitialCheckpointError, match=r"holds resnet10t \(num_c.*=2\), resnet18"):
        run(model=wide, **how)
    with pytest.raises(InitialCheckpointError, match=r"num_classes=3.*fc\.bias, fc\.weight"):
        run(model=lambda classes: small(classes + 1), **how)
    with pytest.raises(InitialCheckpointError, match=r"model\.mean=\[0\.5, 0\.5, 0\.5\].* has"):
        run(model=partial(small, mean=[0.1, 0.2, 0.3]), **how)
    assert not (tmp_path / "tuned.ckpt").exists()


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"classes": ["bright", "dark"]}, r"2 classes bright, dark .* have 2: dark, bright"),
        ({"classes": ["a", "b"]}, r"2 classes a, b .* have 2: dark, bright"),
        ({"task": "segmentation"}, "for segmentation"),
        ({"phantom": False}, "on real images"),
    ],
)
def test_one_of_other_classes_or_another_task_is_refused(
    meta: dict[str, Any], message: str, tmp_path: Path, data: Any, other_data: Any
) -> None:
    path, said = tmp_path / "first.ckpt", VictimMeta(
        data="blobs", data_key="blobs_8px", data_digest=data.manifest.digest, phantom=True,
        task="classification", classes=["dark", "bright"], seed=0, epochs=1, best_epoch=0,
    )  # fmt: skip
    save_victim(path, small(2), said)
    assert load_initial(path, other_data).meta == said  # other images may be
    save_victim(path, small(2), replace(said, **meta))
    with pytest.raises(InitialCheckpointError, match=message):
        load_initial(path, data)


def test_what_is_no_victim_is_refused(run: Train, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(b"nothing")
    with pytest.raises(InitialCheckpointError, match=r"absent\.ckpt: no such file; expected"):
        run(initial_checkpoint=tmp_path / "absent.ckpt")
    with pytest.raises(InitialCheckpointError, match=r"damaged\.ckpt.* not a victim's checkpoint"):
        run(initial_checkpoint=damaged)
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.ckpt"]


def test_a_defense_starts_from_no_victim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["defense=comdefend", "data.phantom=true", f"paths.root={tmp_path}"]
    assert run_here(monkeypatch, "train.py", *words, "initial_checkpoint=victim.ckpt") == 1
    assert "defense=comdefend is to be trained; set it to null" in capfd.readouterr().err
