"""Builds the transfer threat from a config: loads the attacker's own model."""

from typing import Any

from medrobust.model.checkpoint import load_victim
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
    command = f"python train.py model={surrogate_model['name']} seed={surrogate_seed}"
    return Transfer(load_victim(surrogate_path, train_command=command).accelerate())
