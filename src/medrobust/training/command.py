"""The command that trains a cell's victim or defense, and the requirements on its checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from medrobust.data.core.base import MedicalDataModule
from medrobust.invocation import command, paths, repeated
from medrobust.model.core.expected import Expected


def expected_victim(config: DictConfig, data: MedicalDataModule) -> Expected:
    """Return the requirements of a row, or of a defense, on the victim of `victim_path`."""
    return Expected.on(
        data,
        seed=config.victim_seed,
        model=OmegaConf.to_container(config.model, resolve=True),
        objective=OmegaConf.to_container(config.objective, resolve=True),
        keys={"model": "model", "objective": "objective", "seed": "victim_seed"},
    )


def train_command(
    choices: dict[str, str],
    overrides: list[str],
    seed: int,
    *,
    phantom: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Return the command that trains the victim of a cell.

    Args:
        choices: Hydra's choice of each group.
        overrides: the cell's own overrides; those of data, model and objective are repeated.
        seed: seed of the training.
        phantom: the data are a generated stand-in, perhaps by an experiment's config.
        settings: further keys of the training, `victim_training`.
    """
    words = _with_phantom(overrides, phantom)
    more = [f"seed={seed}", *_assigned(settings)]
    return _command(("data", "model", "objective"), choices, words, more)


def defense_command(
    choices: dict[str, str],
    overrides: list[str],
    seed: int,
    victim_seed: int | None,
    *,
    phantom: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Return the command that trains the defense of a cell.

    Args:
        choices: Hydra's choice of each group.
        overrides: the cell's own overrides; those of defense and data are repeated.
        seed: seed of the training.
        victim_seed: seed of its victim; None for a defense without one.
        phantom: the data are a generated stand-in, perhaps by an experiment's config.
        settings: further keys of the training, `defense_training`.
    """
    groups, more = ["defense", "data"], [f"seed={seed}"]
    if victim_seed is not None:
        groups += ["model", "objective"]
        more.append(f"victim_seed={victim_seed}")
    more += _assigned(settings)
    return _command(groups, choices, _with_phantom(overrides, phantom), more)


def _assigned(settings: Mapping[str, Any] | None) -> list[str]:
    """Return an override for each key of a mapping, whose keys may have dots."""
    return [f"{key}={_written(value)}" for key, value in (settings or {}).items()]


def _written(value: Any) -> str:
    """Return a value as an override writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(_written, value)) + "]"
    return str(value)


def _with_phantom(overrides: list[str], phantom: bool) -> list[str]:
    named = any(word.lstrip("+").startswith("data.phantom=") for word in overrides)
    return overrides if named or not phantom else [*overrides, "data.phantom=true"]


def _command(
    groups: Sequence[str], choices: dict[str, str], overrides: list[str], more: list[str]
) -> str:
    """Return `medrobust train` with the choices and overrides of these groups, and paths."""
    chosen = [f"{group}={choices[group]}" for group in groups]
    return command("train", [*chosen, *repeated(overrides, groups), *more, *paths(overrides)])
