"""An experiment as its head says to run it, at the smallest size at which all of it still runs."""

import itertools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, open_dict

from medrobust.attack.core.plan import EFFORTS, Effort, Planner
from medrobust.evaluation import gradient_cosine
from medrobust.evaluation import run as evaluation
from medrobust.model.core.taps import layers
from medrobust.training import job
from tests.experiment.paper_cells import CONF
from tests.support.here import run_here

MOST = {
    **{"steps": 2, "binary_search_steps": 1, "restarts": 1, "targets": 1, "queries": 12},
    **{"samples": 2, "starts": 2, "per_class": 4, "iterations": 2, "neighbours": 2, "k": 2},
    **{"n0": 2, "warm_epochs": 1, "depth": 3, "features": 4, "maps": 4, "growth": 4, "blocks": 1},
    **{"critic_maps": 4, "critic_blocks": 1, "hidden": 8, "code_maps": 4, "encoder_features": 4},
    **{"q": 3, "batches": 2, "high_degrees": 11},
}
"""Settings of attacks and defenses that are effort or width -> the largest value that is kept."""

TRAIN = (*("progress_bar=false", "data.limit_train=16", "data.limit_val=8", "data.batch_size=8"),)
EVALUATE = ("data.limit_test=4", "eot_samples=2", "batch_size=64")
EVERYWHERE = ("trainer=cpu", "logger=none", "data.phantom=true")
LEFT_OUT = ("model.pretrained", "model.channels", "model.anchor_px", "data.download", "data.size")


def commands(name: str) -> list[list[str]]:
    """The commands that stand at the head of an experiment, up to its own, each as words."""
    text = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    found: list[list[str]] = []
    for line in text.replace("\\\n#", "").splitlines():
        if line.startswith("#   medrobust "):
            found.append(shlex.split(line.removeprefix("#   medrobust "), comments=True))
            if found[-1][0] == "evaluate":
                return found
    raise AssertionError(f"the head of {name} does not say how to run it")


def singles(words: Sequence[str], narrowed: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """Each training of a sweep by itself."""
    choices = []
    for word in words:
        key, _, values = word.partition("=")
        if word != "-m" and key not in LEFT_OUT:
            own = values.split(",")
            chosen = narrowed.get(key, values).split(",")
            choices.append([f"{key}={value}" for value in own if value in chosen or own == [value]])
    return itertools.product(*choices)


def shrunk(config: DictConfig) -> DictConfig:
    """The composed config of a job, with less effort in its attack and defense."""
    swept = {word.partition("=")[0].lstrip("+") for word in HydraConfig.get().overrides.task}
    with open_dict(config):
        for model in (config.get("model"), (config.get("threat") or {}).get("surrogate_model")):
            if model is not None and model.get("network") == "vgg16":
                model.small_stem = True  # its usual head has 120 million weights
        for group in ("attack", "defense"):
            if config.get(group) is not None:
                _shrink(config[group], group, swept)
        loss = config.get("attack", {}).get("loss") or {}
        if str(loss.get("_target_", "")).endswith(".HFC") and loss.get("taps") is None:
            # A mixture for each of a network's fifty activations takes ten seconds a cell.
            loss["taps"] = list(layers(config.model.name))[:1]
    return config


def _shrink(node: Any, place: str, swept: set[str]) -> None:
    if isinstance(node, ListConfig):
        return
    for key in node:
        if node._get_node(key)._is_interpolation():
            continue
        value, here = node[key], f"{place}.{key}"
        if isinstance(value, DictConfig):
            _shrink(value, here, swept)
        elif type(value) is int and key in MOST:
            if here not in swept:
                node[key] = min(value, MOST[str(key)])
            elif here == "attack.steps":
                node[key] = value // 8 or value  # still as many different ones


def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every job of `train.py` and `evaluate.py` in this process be shrunk first."""
    least = Effort(steps=2, restarts=1, targets=1, ranks=1, queries=12, searches=1, draws=2)
    for effort in EFFORTS:
        monkeypatch.setitem(EFFORTS, effort, least)
    every = Planner.members  # of the ensemble the cheapest and the dearest attack; all have tests
    monkeypatch.setattr(
        Planner, "members", lambda self, system: [every(self, system)[end] for end in (0, -1)]
    )
    monkeypatch.setattr(gradient_cosine, "DIRECTIONS", 2)
    for module, name in ((evaluation, "run_cell"), (job, "run_training")):
        work = getattr(module, name)
        monkeypatch.setattr(module, name, lambda config, work=work: work(shrunk(config)))


def run(
    monkeypatch: pytest.MonkeyPatch, root: Path, name: str, words: Sequence[str], trained: set[Any]
) -> int:
    """Train what the head of an experiment says, unless that is done, and run it.

    Args:
        monkeypatch: puts back what is changed in this process.
        root: of data, checkpoints and rows; shared by experiments whose victims are the same.
        name: of the experiment.
        words: overrides that narrow it, or make its images and copies fewer.
        trained: trainings that are done under this root; grows.

    Returns:
        Exit status of `evaluate.py`.
    """
    smaller(monkeypatch)
    always = (*EVERYWHERE, f"paths.root={root}")
    narrowed = dict(word.split("=", 1) for word in words)
    data = [word for word in words if word.startswith("data.")]
    *training, evaluation = commands(name)
    for command in training:
        assert command[0] == "train"
        for single in singles(command[1:], narrowed):
            if (*single, *data) not in trained:
                # A denoiser's first epoch is its warm start.
                epochs = 2 if any(word.startswith("defense=") for word in single) else 1
                own = (*single, f"trainer.max_epochs={epochs}", *TRAIN, *data)
                status = run_here(monkeypatch, "train.py", *always, *own)
                assert status == 0, single
                trained.add((*single, *data))
    own = [w for w in evaluation[1:] if w != "-m" and w.partition("=")[0] not in LEFT_OUT]
    return run_here(monkeypatch, "evaluate.py", "-m", *always, *own, *EVALUATE, *words)
