"""`train=missing`: what a cell lacks is trained once, with the command that an error prints."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from medrobust.checkpoint import MissingCheckpointError
from medrobust.defense.core.checkpoint import MissingDefenseError
from medrobust.evaluation import missing
from medrobust.model.core.checkpoint import MissingVictimError, VictimMeta, read_meta, save_victim
from medrobust.result.row import Row
from medrobust.result.store import RowStore
from medrobust.training.command import train_command
from tests.support.here import run_here

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
TINY = [
    "trainer=cpu", "data=dermamnist", "data.phantom=true", "data.phantom_n=140", "model=resnet18",
    "model.network=test_resnet", "logger=none", "data.limit_test=12", "attack=fgsm",
]  # fmt: skip
SWEEP = ["-m", "victim_seed=0,1", "defense=none,median", "+hydra.callbacks.table.formats=[csv]"]


class Trainer:
    """Stands in for the process of a training: writes an untrained victim where it should.

    Attributes:
        commands: those that were run.
        status: exit status.
    """

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.status = 0

    def __call__(self, words: Sequence[str]) -> int:
        self.commands.append(list(words))
        if self.status == 0:
            self._save(list(words[1:]))
        return self.status

    def _save(self, words: list[str]) -> None:
        outer = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", overrides=words)
        GlobalHydra.instance().hydra = outer
        data = instantiate(config.data)
        torch.manual_seed(config.seed)
        victim = instantiate(config.model, num_classes=data.num_classes)
        meta = VictimMeta(
            data=data.name,
            data_key=data.key,
            data_digest=data.manifest.digest,
            phantom=data.phantom,
            task=data.task,
            classes=list(data.classes),
            seed=config.seed,
            epochs=config.trainer.max_epochs,
            best_epoch=0,
            recipe={"objective": OmegaConf.to_container(config.objective, resolve=True)},
        )
        save_victim(config.checkpoint, victim.freeze(), meta)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    made = Trainer()
    monkeypatch.setattr(missing, "run_command", made)
    return made


def rows(root: Path) -> list[Row]:
    return RowStore(root / "outputs/rows").rows()


def key(command: Sequence[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in command[1:])


def test_each_seed_is_trained_once_though_several_cells_want_it(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["train=missing", "victim_training={trainer.max_epochs: 3, recipe: robust}"]
    words = [*SWEEP, *TINY, *more, f"paths.root={tmp_path}"]
    assert run_here(monkeypatch, "evaluate.py", *words) == 0
    assert [key(command)["seed"] for command in trainer.commands] == ["0", "1"]
    found = rows(tmp_path)
    assert sorted((row.config["victim_seed"], row.cell["defense"]) for row in found) == [
        (0, "median"), (0, "none"), (1, "median"), (1, "none"),
    ]  # fmt: skip
    assert {row.status for row in found} == {"done"}
    for command in trainer.commands:
        assert key(command)["trainer.accelerator"] == "cpu"
        assert (key(command)["trainer.max_epochs"], key(command)["recipe"]) == ("3", "robust")
    path = tmp_path / "checkpoints/dermamnist_28px_phantom/resnet18/standard/seed_1.ckpt"
    assert read_meta(path).epochs == 3
    assert run_here(monkeypatch, "evaluate.py", *words) == 0
    assert len(trainer.commands) == 2
    # Weights decide a row, and not how they came to be.
    plain = [word for word in words if word not in more]
    assert run_here(monkeypatch, "evaluate.py", *plain) == 0
    assert {row.id for row in rows(tmp_path)} == {row.id for row in found}


def test_the_training_is_the_one_that_the_error_names(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "victim_training={trainer.max_epochs: 3}"
    words = [*TINY, settings, "victim_seed=4", f"paths.root={tmp_path}", "model.drop_rate=0.1"]
    assert run_here(monkeypatch, "evaluate.py", *words) == 1
    assert not trainer.commands
    (failed,) = rows(tmp_path)
    path, line = re.findall(r"no trained victim at (.*); train it with\n +(.*)", str(failed.error))[
        0
    ]
    printed = shlex.split(line)
    assert {"seed=4", "trainer.max_epochs=3", "model.drop_rate=0.1"} <= set(printed)
    assert run_here(monkeypatch, "evaluate.py", *words, "train=missing") == 0
    (command,) = trainer.commands
    assert command[: len(printed) - 1] == printed[1:]
    added = key(["", *command[len(printed) - 1 :]])
    assert added.pop("checkpoint") == path
    assert added == {
        "logger": "none", "trainer.accelerator": "cpu", "progress_bar": "false",
    }  # fmt: skip


def test_the_surrogate_of_a_transfer_attack_is_trained_too(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threat = ["threat=transfer", "threat.surrogate_seed=5"]
    words = [*TINY, *threat, "train=missing", "victim_training={trainer.max_epochs: 3}"]
    assert run_here(monkeypatch, "evaluate.py", *words, f"paths.root={tmp_path}") == 0
    victim, surrogate = (key(command) for command in trainer.commands)
    assert (victim["model"], victim["seed"]) == ("resnet18", "0")
    assert (surrogate["model"], surrogate["seed"]) == ("mobilenet_v2", "5")
    assert surrogate["trainer.max_epochs"] == victim["trainer.max_epochs"] == "3"
    (row,) = rows(tmp_path)
    assert "victim_training" not in row.config["threat"]


@pytest.mark.slow
def test_a_failed_training_fails_its_cells_and_is_not_tried_again(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.status = 3
    words = [*SWEEP, *TINY, "train=missing", f"paths.root={tmp_path}"]
    assert run_here(monkeypatch, "evaluate.py", *words) == 1
    assert [key(command)["seed"] for command in trainer.commands] == ["0", "1"]
    for row in rows(tmp_path):
        assert row.status == "failed"
        assert "ended with status 3, expected 0" in str(row.error)
        assert f"seed={row.config['victim_seed']} " in str(row.error)
    trainer.status = 0  # the next sweep tries again
    assert run_here(monkeypatch, "evaluate.py", *words) == 0
    assert {row.status for row in rows(tmp_path)} == {"done"}


def test_a_defense_is_trained_after_its_victim(
    monkeypatch: pytest.MonkeyPatch, hydra_job: None
) -> None:
    victim = MissingVictimError(Path("v.ckpt"), "medrobust train a=1")
    surrogate = InstantiationException("Error in call to target")
    surrogate.__cause__ = MissingVictimError(Path("s.ckpt"), "medrobust train a=2")
    errors = [victim, surrogate, MissingDefenseError(Path("d.ckpt"), "medrobust train a=3")]
    commands: list[str] = []

    def work() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    monkeypatch.setattr(missing, "run_command", lambda words: commands.append(words[1]) or 0)
    config = OmegaConf.create({"train": "missing", "trainer": {"accelerator": "cpu"}})
    assert missing.trained_first(work, config, []) == "done"
    assert commands == ["a=1", "a=2", "a=3"]


def test_a_checkpoint_that_stays_missing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, hydra_job: None
) -> None:
    commands: list[Sequence[str]] = []

    def work() -> None:
        raise MissingCheckpointError(Path("a b's.ckpt"), "medrobust train a=1")

    monkeypatch.setattr(missing, "run_command", lambda words: commands.append(words) or 0)
    config = OmegaConf.create({"train": "missing", "trainer": {"accelerator": "cpu"}})
    with pytest.raises(MissingCheckpointError):
        missing.trained_first(work, config, [])
    (command,) = commands
    parsed = OverridesParser.create().parse_override(command[-1])
    assert parsed.value() == "a b's.ckpt"


@pytest.fixture
def hydra_job(monkeypatch: pytest.MonkeyPatch) -> None:
    node = OmegaConf.create({"sweep": {"dir": f"sweep {time.time_ns()}"}})
    monkeypatch.setattr(missing.HydraConfig, "get", lambda: node)


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "null"), (True, "true"), (0.001, "0.001"), ([1, 2], "[1,2]"), ({"a": 1}, "{a:1}")],
)
def test_settings_of_a_training_survive_the_command_line(value: Any, written: str) -> None:
    choices = {"data": "mnist", "model": "vgg16", "objective": "standard"}
    words = shlex.split(train_command(choices, [], 0, settings={"x.y": value}))
    assert f"x.y={written}" in words
    (word,) = [word for word in words if word.startswith("x.y=")]
    assert OverridesParser.create().parse_override(word).value() == value


# Whole trainings, in processes of their own -------------------------------------------------


def start(root: Path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(ROOT / "evaluate.py"), *words, *TINY, f"paths.root={root}"]
    with (root / "log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, text=True)


def until(condition: Any, limit_s: float = 600.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


ONCE = ["train=missing", "victim_training={trainer.max_epochs: 2}"]


@pytest.mark.slow
def test_three_seeds_in_one_command(tmp_path: Path) -> None:
    import pandas as pd

    over = [
        "victim_seed=0,1,2",
        "defense=none,jpeg",
        "attack=none,fgsm",
        "table.over=[victim_seed]",
    ]
    words = [word for word in TINY if not word.startswith("attack=")]
    command = [sys.executable, str(ROOT / "evaluate.py"), "-m", *over, *words, *ONCE]
    done = subprocess.run(
        [*command, f"paths.root={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("[INFO] - trained (best epoch") == 3
    (sweep,) = (tmp_path / "outputs/sweeps").iterdir()
    table = pd.read_csv(sweep / "table.csv")
    found = {(row.cell["defense"], row.cell["attack"], row.config["victim_seed"]): row
             for row in rows(tmp_path)}  # fmt: skip
    assert len(found) == 12
    assert len({row.fingerprints["victim"] for row in found.values()}) == 3
    for _, line in table[table["attack"].isin(["none", "fgsm"])].iterrows():
        values = [found[line["defense"], line["attack"], n].metrics["accuracy"] for n in range(3)]
        assert line["value"] == pytest.approx(pd.Series(values).mean())
        assert line["sd"] == pytest.approx(pd.Series(values).std(ddof=1))


@pytest.mark.slow
def test_two_processes_train_once(tmp_path: Path) -> None:
    both = [start(tmp_path, *ONCE) for _ in range(2)]
    log = tmp_path / "log"
    assert [one.wait(1200) for one in both] == [0, 0], log.read_text()
    said = log.read_text()
    assert said.count("[INFO] - trained (best epoch") == 1
    assert len(rows(tmp_path)) == 1
    trainings = said.count("training it first")
    assert said.count("already trained with this recipe") == trainings - 1


@pytest.mark.slow
def test_a_kill_leaves_no_checkpoint_and_no_process(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints/dermamnist_28px_phantom/resnet18/standard/seed_0.ckpt"
    unfinished = path.with_suffix(".training")
    long = ["train=missing", "victim_training={trainer.max_epochs: 40}"]
    first = start(tmp_path, *long)
    until(lambda: (unfinished / "last.ckpt").exists())
    lock = path.parent / ".locks/seed_0.lock"
    (trainer,) = re.findall(r'"pid": (\d+)', lock.read_text())
    assert int(trainer) != first.pid
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    until(lambda: not Path(f"/proc/{trainer}").exists(), 60)
    assert not path.exists()
    second = start(tmp_path, *long)
    assert second.wait(1200) == 0, (tmp_path / "log").read_text()
    assert read_meta(path).epochs == 40
    assert not unfinished.exists()


def composed(*words: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("evaluate", overrides=list(words))


def test_nothing_is_trained_unless_wanted() -> None:
    config = composed()
    assert (config.train, config.victim_training, config.defense_training) == (None, None, None)
