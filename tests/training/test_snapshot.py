"""Snapshots of an unfinished training: whole or absent, checked, and of this very training."""

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medrobust.training.snapshot import BEST, LAST, PREVIOUS, SnapshotError, read_snapshot
from tests.training.test_train import Interrupted, PowerCutError, Recorder, fingerprint

Train = Callable[..., Any]


def interrupted(run: Train, path: Path, batches: int = 14, **changes: Any) -> Path:
    """Train until the power fails in the fourth epoch; the folder that is left."""
    broken = Interrupted()
    broken.batches = batches
    with pytest.raises(PowerCutError):
        run(checkpoint=path, max_epochs=5, objective=broken, **changes)
    return path.with_suffix(".training")


def finished(run: Train, path: Path, **changes: Any) -> int:
    """Go on to the end; the number of batches that were still to do."""
    objective = Recorder()
    run(checkpoint=path, max_epochs=5, objective=objective, **changes)
    return len(objective.seen)


@pytest.fixture
def whole(run: Train, tmp_path: Path) -> str:
    """Fingerprint of a training that nothing interrupts."""
    finished(run, tmp_path / "whole.ckpt")
    return fingerprint(tmp_path / "whole.ckpt")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


@pytest.mark.by_default("flip")
@pytest.mark.parametrize("harm", [cut, flip, lambda path: path.write_bytes(b"")])
def test_behind_a_damaged_last_snapshot_training_goes_on_from_the_epoch_before(
    harm: Callable[[Path], Any],
    run: Train,
    tmp_path: Path,
    whole: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "v.ckpt"
    left = interrupted(run, path)
    assert {file.name for file in left.iterdir()} == {BEST, LAST, PREVIOUS}
    harm(left / LAST)
    with caplog.at_level(logging.WARNING, "medrobust"):
        assert finished(run, path) == 4 * 3  # the third epoch is done again
    assert f"{left / LAST} is damaged" in caplog.text
    assert fingerprint(path) == whole


def test_with_both_damaged_it_starts_over(
    run: Train, tmp_path: Path, whole: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "v.ckpt"
    left = interrupted(run, path)
    cut(left / LAST)
    flip(left / PREVIOUS)
    assert finished(run, path) == 4 * 5
    assert "training starts over" in caplog.text
    assert fingerprint(path) == whole


def test_a_flipped_bit_in_the_best_epoch_gives_no_victim(
    run: Train, tmp_path: Path, whole: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "v.ckpt"
    flip(interrupted(run, path) / BEST)
    assert finished(run, path) == 4 * 5
    assert "the weights of the best epoch are lost" in caplog.text
    assert fingerprint(path) == whole


class Spoiled(Recorder):
    """Spoils the best epoch's snapshot in the last batch, or does something else to it."""

    def __init__(self, best: Path, harm: Callable[[Path], Any]) -> None:
        super().__init__()
        self.best, self.harm = best, harm

    def loss(self, *args: Any, **seeds: Any) -> Any:
        if len(self.seen) == 4 * 5 - 1:
            self.harm(self.best)
        return super().loss(*args, **seeds)


def test_damage_in_the_running_training_is_an_error_that_the_same_command_fixes(
    run: Train, tmp_path: Path, whole: str, segmentation: dict[str, Any]
) -> None:
    path, still = tmp_path / "v.ckpt", {"max_epochs": 5, **segmentation}
    best = path.with_suffix(".training") / BEST
    # A rate of zero: the first epoch stays the best one, so nobody writes it again.
    rate = {"optimizer": lambda w: torch.optim.SGD(w, lr=0.0), "scheduler": None}
    with pytest.raises(SnapshotError, match=r"best\.ckpt is damaged.*resume=null"):
        run(checkpoint=path, objective=Spoiled(best, flip), **still, **rate)
    assert not path.exists()
    with pytest.raises(SnapshotError, match=r"best\.ckpt with .* is missing.*resume=null"):
        run(checkpoint=path, objective=Spoiled(best, os.unlink), **still, **rate)
    assert finished(run, path, overwrite=True, resume=None) == 4 * 5
    assert fingerprint(path) == whole


def test_the_best_epoch_of_another_training_is_never_loaded(
    run: Train, tmp_path: Path, segmentation: dict[str, Any]
) -> None:
    path = tmp_path / "v.ckpt"
    other = interrupted(run, tmp_path / "other.ckpt", seed=1, recipe={"seed": 1}) / BEST
    same = interrupted(run, tmp_path / "same.ckpt") / BEST
    rate = {"optimizer": lambda w: torch.optim.SGD(w, lr=0.0), "scheduler": None} | segmentation
    best = path.with_suffix(".training") / BEST
    for foreign in (other, same):  # of another recipe, and of another run of this one
        swapped = Spoiled(best, lambda best, foreign=foreign: shutil.copy(foreign, best))
        with pytest.raises(SnapshotError, match="best epoch of another training"):
            run(checkpoint=path, max_epochs=5, objective=swapped, resume=None, **rate)
    assert not path.exists()


def test_a_full_disk_leaves_the_snapshot_before(
    run: Train, tmp_path: Path, whole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "v.ckpt"
    left = path.with_suffix(".training")
    fsync, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(list(left.glob(PREVIOUS))) and len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"disk of .* is full.* what was there is unchanged"):
        run(checkpoint=path, max_epochs=5)
    monkeypatch.undo()
    assert all(read_snapshot(file) for file in left.iterdir())
    assert 0 < finished(run, path) < 4 * 5
    assert fingerprint(path) == whole


def test_a_snapshot_holds_no_code_and_must_be_one(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"epoch": 1, "state_dict": {}, "more": torch.nn.Linear(1, 1)}, path)
    with pytest.raises(SnapshotError, match="resume=null"):
        read_snapshot(path)
    torch.save({"epoch": 1}, path)
    with pytest.raises(SnapshotError, match="no training checkpoint"):
        read_snapshot(path)
    torch.save({"epoch": 1, "state_dict": {}}, path)  # as Lightning writes it by itself
    assert read_snapshot(path)["epoch"] == 1


def test_a_damaged_snapshot_that_a_user_names_is_refused(run: Train, tmp_path: Path) -> None:
    left = interrupted(run, tmp_path / "v.ckpt")
    cut(left / LAST)
    with pytest.raises(SnapshotError, match=r"last\.ckpt is damaged"):
        run(checkpoint=tmp_path / "v.ckpt", max_epochs=5, resume=str(left / LAST))
