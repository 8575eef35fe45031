"""An experiment's sweep as rows that were never computed, to see what its table makes of them."""

from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.medrobust_sweeper.product import jobs
from medrobust.config import register
from medrobust.report.config import TableConfig
from medrobust.result.row import CELL, Row

CONF = Path(__file__).parents[2] / "conf"
SHARED = ("copies", "estimator", "eps", "eot_samples")
READ_BY = {"attack": ("eps",), "defense": ("copies", "estimator")}
"""Which of these the configs of a group refer to; fewer make fewer compositions."""


def composed(*overrides: str) -> DictConfig:
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


@cache
def settings(group: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """What a choice of a group is configured with, as a row keeps it."""
    found = OmegaConf.to_container(composed(*overrides)[group], resolve=True)
    return _classes(found)


def row(config: DictConfig, job: dict[str, str], metrics: dict[str, float]) -> Row:
    """The finished row of a job, with made-up metrics."""
    shared = {name: str(config[name]) for name in SHARED if name in config} | {
        name: choice for name, choice in job.items() if name in SHARED
    }
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    assert isinstance(choices, dict)
    cell = {name: job.get(name, str(choices.get(name, ""))) for name in CELL}
    surrogate = "model@threat.surrogate_model"
    if cell["threat"] == "transfer":
        cell["surrogate"] = job.get(surrogate, str(choices.get(surrogate, "")))
    variants = {}
    for group in ("attack", "defense"):
        keys = sorted(key for key in job if key.startswith(f"{group}."))
        words = [f"{group}={cell[group]}", *(f"{key}={job[key]}" for key in keys)]
        words += [f"{key}={shared[key]}" for key in READ_BY[group] if key in shared]
        variants[group] = settings(group, tuple(words))
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


def table_config(config: DictConfig) -> TableConfig:
    node = OmegaConf.to_container(config.table, resolve=True)
    assert isinstance(node, dict)
    return TableConfig.parse({str(key): value for key, value in node.items()})


def _classes(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {("class" if k == "_target_" else k): _classes(v) for k, v in value.items()}
