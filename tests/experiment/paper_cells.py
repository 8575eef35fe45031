"""An experiment's sweep as rows that were never computed, to see what its table makes of them."""

import itertools
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.medrobust_sweeper.product import jobs
from medrobust.report.table.config import TableConfig
from medrobust.resolvers import register
from medrobust.result.row import CELL, Row

CONF = Path(__file__).parents[2] / "conf"
READ_BY = {"attack": ("eps",), "defense": ("copies", "stopping")}
"""Keys outside of a group that its configs refer to; fewer make fewer compositions."""
PATHS = ("checkpoint", "fits")
"""Settings that a row does not have."""


@cache
def composed(*overrides: str) -> DictConfig:
    """The config of `medrobust evaluate` with these overrides; shared, so nobody changes it."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("evaluate", overrides=list(overrides), return_hydra_config=True)


def experiments() -> list[str]:
    files = (CONF / "experiment").rglob("*.yaml")
    names = (path.relative_to(CONF / "experiment").with_suffix("").as_posix() for path in files)
    return sorted(name for name in names if "/part/" not in name)


def planned(config: DictConfig, *arguments: str) -> list[dict[str, str]]:
    """The jobs of an experiment: key -> choice."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    sweeper = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    assert isinstance(sweeper, dict)
    parser = OverridesParser.create()
    made = jobs(sweeper.get("params"), sweeper.get("blocks"), arguments, parser)
    return [dict(word.split("=", 1) for word in job) for job in made]


_SETTINGS: dict[tuple[str, ...], dict[str, Any]] = {}


def prepare(config: DictConfig, jobs: Sequence[dict[str, str]]) -> None:
    """Compose the settings of all jobs, each attack with a defense: composing takes the time."""
    found: dict[str, dict[tuple[str, ...], None]] = {group: {} for group in READ_BY}
    for job in jobs:
        for group, words in deciding(config, job).items():
            if words not in _SETTINGS:
                found[group][words] = None
    for attack, defense in itertools.zip_longest(*found.values()):
        _compose({"attack": attack, "defense": defense})


def deciding(config: DictConfig, job: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """The overrides that decide the settings of a job's attack and defense."""
    choices = config.hydra.runtime.choices
    made = {}
    for group, read in READ_BY.items():
        keys = sorted(key for key in job if key.startswith((f"{group}.", f"{group}/")))
        words = [f"{group}={job.get(group, choices[group])}", *(f"{k}={job[k]}" for k in keys)]
        shared = {name: job.get(name, str(config[name])) for name in read if name in config}
        made[group] = (*words, *(f"{name}={value}" for name, value in shared.items()))
    return made


def _compose(words: dict[str, tuple[str, ...] | None]) -> None:
    config = composed(*(word for own in words.values() for word in own or ()))
    for group, own in words.items():
        if own is not None:
            found = OmegaConf.to_container(config[group], resolve=True)
            _SETTINGS[own] = _classes(found)


def row(config: DictConfig, job: dict[str, str], metrics: dict[str, float]) -> Row:
    """The finished row of a job, with made-up metrics."""
    choices = config.hydra.runtime.choices
    cell = {name: job.get(name, str(choices.get(name, ""))) for name in CELL}
    surrogate = "model@threat.surrogate_model"
    if cell["threat"] == "transfer":
        cell["surrogate"] = job.get(surrogate, str(choices.get(surrogate, "")))
    words = deciding(config, job)
    for group, own in words.items():
        if own not in _SETTINGS:
            _compose({group: own})
    variants = {group: _SETTINGS[own] for group, own in words.items()}
    return Row(
        id=repr(sorted(job.items())),
        status="done",
        cell=cell,
        attack_variant=variants["attack"],
        defense_variant=variants["defense"],
        n=500,
        metrics=metrics,
        intervals={name: [max(value - 0.02, 0), value + 0.02] for name, value in metrics.items()},
        seconds={"per_image": 0.5},
        config={"job": job},
    )


def recipe(job: dict[str, str]) -> dict[str, Any]:
    """Return the training that the victim's checkpoint would state, if the job sweeps it."""
    words = OmegaConf.create(job.get("victim_training", "{}").replace(":", ": "))
    return {str(key).rpartition(".")[2]: value for key, value in words.items()}


def table_config(config: DictConfig) -> TableConfig:
    node = OmegaConf.to_container(config.table, resolve=True)
    assert isinstance(node, dict)
    return TableConfig.parse({str(key): value for key, value in node.items()})


def _classes(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    own = {key: item for key, item in value.items() if key not in PATHS}
    return {("class" if key == "_target_" else key): _classes(item) for key, item in own.items()}
