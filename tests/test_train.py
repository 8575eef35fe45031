import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from medrobust.defense.core.checkpoint import read_meta as read_defense_meta
from medrobust.model.core.checkpoint import load_victim
from medrobust.resolvers import register
from tests.support.here import run_here

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def train(*overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "train.py"), *overrides]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.by_default("flags1")
@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"]])
def test_help_and_config_come_without_heavy_imports(flags: list[str]) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['train.py', *{flags}]\n"
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
        "heavy = {'torch', 'pytorch_lightning', 'timm', 'pandas', 'wandb'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "optimizer:" in done.stdout
    if flags == ["--help"]:
        assert "medrobust train data=dermamnist" in done.stdout
        assert "mobilenet_v2" in done.stdout


@pytest.mark.parametrize(
    "override",
    [f"{group}={name}" for group in ("model", "objective", "trainer", "logger", "recipe")
     for name in options(group)],
)  # fmt: skip
def test_every_choice_composes_and_explains_its_keys(override: str) -> None:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=[override])
    group, name = override.split("=")
    if group != "recipe":
        OmegaConf.to_container(config[group], resolve=group != "logger", throw_on_missing=True)
    assert config.checkpoint == (
        f"./checkpoints/dermamnist_28px/{config.model.name}/{config.objective.name}/seed_0.ckpt"
    )
    if group in ("model", "objective"):
        assert config[group].name == name
    lines = (CONF / group / f"{name}.yaml").read_text().splitlines()
    if group in ("model", "objective", "trainer", "logger"):
        assert all("#" in line for line in lines if line and not line.startswith("_target_"))


def test_a_victim_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    overrides = [
        "data=dermamnist", "data.phantom=true", "data.phantom_n=100", "model=mobilenet_v2",
        "model.network=mobilenetv2_050", "trainer=cpu", "trainer.max_epochs=2",
        "progress_bar=false", f"paths.root={tmp_path}",
    ]  # fmt: skip
    assert run_here(monkeypatch, "train.py", *overrides) == 0
    assert "test/accuracy" in capfd.readouterr().out
    path = tmp_path / "checkpoints/dermamnist_28px_phantom/mobilenet_v2/standard/seed_0.ckpt"
    victim = load_victim(path, train_command="")
    assert victim(torch.rand(2, 3, 28, 28)).shape == (2, 7)
    assert victim.meta.phantom
    assert victim.meta.epochs == 2
    curves = list(tmp_path.glob("outputs/train/*/log/metrics.csv"))
    assert len(curves) == 1
    assert "train/loss" in curves[0].read_text()

    assert run_here(monkeypatch, "train.py", *overrides, "optimizer.lr=0.5") == 1
    said = capfd.readouterr().err
    assert "optimizer.lr: 0.001 -> 0.5" in said
    assert "overwrite=true" in said


@pytest.mark.slow
def test_a_defense_from_the_command_line(tmp_path: Path) -> None:
    overrides = [
        "defense=comdefend", "data=dermamnist", "data.phantom=true", "data.phantom_n=100",
        "defense.width=0.05", "trainer=cpu", "trainer.max_epochs=1", "progress_bar=false",
        f"paths.root={tmp_path}",
    ]  # fmt: skip
    done = train("-m", "seed=0,1", *overrides)
    assert done.returncode == 0, done.stderr
    assert "test/mse" in done.stdout
    folder = tmp_path / "checkpoints/dermamnist_28px_phantom/defense/comdefend"
    metas = [read_defense_meta(folder / f"seed_{seed}.ckpt") for seed in (0, 1)]
    assert [meta.seed for meta in metas] == [0, 1]
    assert metas[0].recipe["defense"]["width"] == 0.05
    assert metas[0].recipe["data"]["batch_size"] == 20
    assert not {"model", "objective"} & set(metas[0].recipe)

    other = train(*overrides, "defense.width=0.1")
    assert other.returncode != 0
    assert "defense.width: 0.05 -> 0.1" in other.stderr
    assert "overwrite=true" in other.stderr


def test_a_defense_without_weights_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["defense=jpeg", "data.phantom=true", "data.phantom_n=100", "trainer=cpu"]
    assert run_here(monkeypatch, "train.py", *words, f"paths.root={tmp_path}") == 1
    assert "defense=jpeg has nothing to train" in capfd.readouterr().err
    assert not (tmp_path / "checkpoints").exists()


def test_a_defense_of_an_evaluation_alone_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["data.phantom=true", "trainer=cpu", f"paths.root={tmp_path}"]
    assert run_here(monkeypatch, "train.py", "defense=medrdf", *words) == 1
    said = capfd.readouterr().err
    assert "NothingToTrainError: defense=medrdf has nothing to train, expected one with" in said
    assert "Interpolation" not in said


@pytest.mark.parametrize(
    ("choice", "lr", "path"),
    [
        ("comdefend", 1e-3, "defense/comdefend/seed_3.ckpt"),
        ("jpeg", 1e-3, "resnet18/standard/seed_3.ckpt"),
    ],
)
def test_a_defense_brings_its_recipe_and_its_checkpoint(choice: str, lr: float, path: str) -> None:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=[f"defense={choice}", "seed=3"])
    assert config.checkpoint == f"./checkpoints/dermamnist_28px/{path}"
    assert config.optimizer._target_.endswith("AdamW" if choice == "jpeg" else "Adam")
    assert config.optimizer.lr == lr
