"""The command that trains a cell's victim or defense, and the requirements on its checkpoint."""

from collections.abc import Sequence

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
    choices: dict[str, str], overrides: list[str], seed: int, *, phantom: bool = False
) -> str:
    """Return the command that trains the victim of a cell.

    Args:
        choices: Hydra's choice of each group.
        overrides: the cell's own overrides; those of data, model and objective are repeated.
        seed: seed of the training.
        phantom: the data are a generated stand-in, perhaps by an experiment's config.
    """
    words = _with_phantom(overrides, phantom)
    return _command(("data", "model", "objective"), choices, words, [f"seed={seed}"])


def defense_command(
    choices: dict[str, str],
    overrides: list[str],
    seed: int,
    victim_seed: int | None,
    *,
    phantom: bool = False,
) -> str:
    """Return the command that trains the defense of a cell.

    Args:
        choices: Hydra's choice of each group.
        overrides: the cell's own overrides; those of defense and data are repeated.
        seed: seed of the training.
        victim_seed: seed of its victim; None for a defense without one.
        phantom: the data are a generated stand-in, perhaps by an experiment's config.
    """
    groups, seeds = ["defense", "data"], [f"seed={seed}"]
    if victim_seed is not None:
        groups += ["model", "objective"]
        seeds.append(f"victim_seed={victim_seed}")
    return _command(groups, choices, _with_phantom(overrides, phantom), seeds)


def _with_phantom(overrides: list[str], phantom: bool) -> list[str]:
    named = any(word.lstrip("+").startswith("data.phantom=") for word in overrides)
    return overrides if named or not phantom else [*overrides, "data.phantom=true"]


def _command(
    groups: Sequence[str], choices: dict[str, str], overrides: list[str], seeds: list[str]
) -> str:
    """Return `medrobust train` with the choices and overrides of these groups, and paths."""
    chosen = [f"{group}={choices[group]}" for group in groups]
    return command("train", [*chosen, *repeated(overrides, groups), *seeds, *paths(overrides)])
