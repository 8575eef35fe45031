"""Builds the transfer threat from a config: loads the attacker's own model."""

from typing import Any

from hydra.core.hydra_config import HydraConfig

from medrobust.evaluation.parts import surrogate_victim, train_command
from medrobust.threat.transfer import Transfer


def transfer(*, surrogate_path: str, surrogate_seed: int, surrogate_model: Any) -> Transfer:
    """Transfer threat with a trained surrogate victim.

    Args:
        surrogate_path: its checkpoint.
        surrogate_seed: its training seed, for the train command.
        surrogate_model: its model config, for the train command.

    Raises:
        MissingVictimError: not trained yet; prints the command.
    """
    job = HydraConfig.get()
    # The victim's own model settings do not go for the surrogate; data and objective do.
    shared = [word for word in job.overrides.task if not word.startswith("model.")]
    choices = {**job.runtime.choices, "model": surrogate_model["name"]}
    command = train_command(choices, shared, surrogate_seed)
    return Transfer(surrogate_victim(surrogate_path, command))
