"""One training at a time per path, and nothing in its way."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.utilities import rank_zero_only

from medrobust.model.core.checkpoint import VictimError, read_meta
from medrobust.result.lock import locked_now
from medrobust.training import checkpoint_path
from medrobust.training.checkpoint_path import AlreadyTrainedError, ObstructedError, train_once
from tests.training.test_train import Recorder, fingerprint

Train = Callable[..., Any]
ONE, OTHER = {"model": {"name": "tiny"}}, {"model": {"name": "other"}}


class Slow(Recorder):
    """Waits in its first batch until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go = threading.Event(), threading.Event()

    def loss(self, *args: Any, **seeds: Any) -> Any:
        self.reached.set()
        assert self.go.wait(60)
        return super().loss(*args, **seeds)


def in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run it in a thread; what it gives or raises stands in the list."""
    said: list[Any] = []

    def run() -> None:
        try:
            said.append(call())
        except Exception as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, said


@pytest.mark.parametrize("recipe", [ONE, OTHER])
def test_of_two_trainings_into_one_path_the_second_waits(
    run: Train, tmp_path: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first, second = tmp_path / "v.ckpt", Slow(), Recorder()
    waiting = threading.Event()
    locked = checkpoint_path.locked

    def noted(*args: Any, **how: Any) -> Any:
        if first.reached.is_set():
            waiting.set()
        return locked(*args, **how)

    monkeypatch.setattr(checkpoint_path, "locked", noted)
    one, made = in_background(lambda: run(checkpoint=path, objective=first, recipe=ONE))
    assert first.reached.wait(60)
    two, said = in_background(lambda: run(checkpoint=path, objective=second, recipe=recipe))
    assert waiting.wait(60)
    two.join(0.3)
    assert two.is_alive()
    first.go.set()
    one.join(60)
    two.join(60)
    assert read_meta(path) == made[0]
    assert not second.seen
    if recipe is ONE:
        assert said == made
    else:
        assert isinstance(said[0], AlreadyTrainedError)


def test_one_process_of_a_training_holds_the_lock_for_all(
    run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "v.ckpt"
    calls: list[str] = []

    def train() -> Any:
        calls.append("trained")
        return None

    how = {"checkpoint": path, "recipe": ONE, "read_meta": read_meta, "overwrite": False}
    with locked_now(tmp_path / ".locks" / "v.lock", "test"):
        monkeypatch.setattr(rank_zero_only, "rank", 1)
        train_once(train, **how)  # started by the process that holds it
    monkeypatch.undo()
    assert calls == ["trained"]


def test_what_is_trained_is_found_in_a_folder_that_cannot_be_written(
    run: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run()

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError("read-only")

    monkeypatch.setattr(checkpoint_path, "locked", refuse)
    assert run() == made


def test_overwrite_replaces_whatever_lies_there(run: Train, tmp_path: Path) -> None:
    run(checkpoint=tmp_path / "whole.ckpt")
    whole = fingerprint(tmp_path / "whole.ckpt")
    path = tmp_path / "v.ckpt"
    path.write_bytes(b"damaged")
    with pytest.raises(VictimError, match="overwrite=true"):
        run(checkpoint=path)
    run(checkpoint=path, overwrite=True)
    assert fingerprint(path) == whole

    path.unlink()
    path.mkdir()
    with pytest.raises(ObstructedError, match=r"empty folder.*overwrite=true"):
        run(checkpoint=path)
    run(checkpoint=path, overwrite=True)
    assert fingerprint(path) == whole

    path.unlink()
    path.symlink_to(tmp_path / "target")
    run(checkpoint=path, overwrite=True)
    assert fingerprint(path) == whole
    assert not (tmp_path / "target").exists()

    path.with_suffix(".training").write_text("in the way")
    run(checkpoint=path, overwrite=True)
    assert fingerprint(path) == whole


def test_a_folder_with_files_is_never_removed(run: Train, tmp_path: Path) -> None:
    path, objective = tmp_path / "v.ckpt", Recorder()
    path.mkdir()
    (path / "precious").touch()
    with pytest.raises(ObstructedError, match=r"folder with files.*checkpoint=PATH"):
        run(checkpoint=path, objective=objective, overwrite=True)
    assert (path / "precious").exists()
    assert not objective.seen


def test_a_recipe_whose_classes_moved_is_the_same(run: Train, tmp_path: Path) -> None:
    old, new = ({"model": {"_target_": f"medrobust.model.{p}resnet.build"}} for p in ("", "net."))
    made, objective = run(recipe=old), Recorder()
    assert run(recipe=new, objective=objective) == made
    assert not objective.seen
    with pytest.raises(AlreadyTrainedError, match=r"model\._target_: resnet\.build -> vgg\.build"):
        run(recipe={"model": {"_target_": "medrobust.model.vgg.build"}})


def test_a_precision_that_checkpoints_cannot_hold_is_refused(run: Train) -> None:
    objective = Recorder()
    for precision in ("64-true", "bf16-true", 64):
        trainer = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "precision": precision}
        with pytest.raises(ValueError, match=rf"trainer\.precision={precision}.*32-true"):
            run(trainer=trainer, objective=objective)
    assert not objective.seen


def test_a_network_that_could_not_be_loaded_again_is_not_trained(run: Train) -> None:
    def foreign(classes: int) -> Any:
        victim = torch.nn.Module()
        victim.architecture = {"builder": "mine"}  # type: ignore[assignment]
        return victim

    with pytest.raises(VictimError, match="no builder 'mine'"):
        run(model=foreign)


@pytest.mark.slow
def test_the_processes_of_several_devices_train_together(tmp_path: Path) -> None:
    """One of them holds the lock and writes; the others neither wait for it nor start over."""
    path = tmp_path / "v.ckpt"
    words = [
        "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=2",
        "data=dermamnist", "data.phantom=true", "data.phantom_n=140", "data.batch_size=16",
        "model=vgg16_slim", "logger=none", f"paths.root={tmp_path}", f"checkpoint={path}",
    ]  # fmt: skip
    for said in ("trained (best epoch", "already trained with this recipe"):
        done = subprocess.run(
            [sys.executable, str(Path(__file__).parents[2] / "train.py"), *words],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert said in done.stdout + done.stderr
    assert read_meta(path).epochs == 2
    assert {file.name for file in tmp_path.glob("v*")} == {"v.ckpt"}
