"""Builds the transfer threat from a config: loads the attacker's own model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from medrobust.defense.core.base import Defense
from medrobust.evaluation.build import surrogate_victim
from medrobust.model.core.checkpoint import TrainedVictim
from medrobust.model.core.expected import Expected
from medrobust.model.core.victim import Victim
from medrobust.threat.surrogate import Surrogate
from medrobust.threat.transfer import Transfer
from medrobust.training.command import train_command

_KEYS = {"model": "model@threat.surrogate_model", "seed": "threat.surrogate_seed"}


class TrainedTransfer(Transfer):
    """Transfer from a trained surrogate that must be what the config says of it.

    It was trained on the data of the victim and with the victim's objective: a row names no other.

    Args:
        surrogate: the attacker's own trained model.
        path: its checkpoint, for errors.
        model: its model config.
        seed: its training seed.
        train_command: what trains it.
    """

    def __init__(
        self,
        surrogate: TrainedVictim,
        *,
        path: str,
        model: Mapping[str, Any],
        seed: int,
        train_command: str,
    ) -> None:
        super().__init__(surrogate)
        self._trained, self._path, self._command = surrogate, path, train_command
        self._model, self._seed = model, seed

    def __call__(self, victim: Victim, defense: Defense) -> Surrogate:
        """The attacker's model.

        Raises:
            VictimError: its checkpoint says something else than the config.
            ValueError: it is the victim itself.
        """
        expected = Expected(seed=self._seed, model=self._model, keys=_KEYS)
        if isinstance(victim, TrainedVictim):
            meta = victim.meta
            expected = replace(
                expected,
                task=meta.task,
                classes=meta.classes,
                phantom=meta.phantom,
                data_digest=meta.data_digest,
                objective=meta.recipe.get("objective"),
            )
        mine = self._trained
        expected.check(self._path, mine.meta, mine.architecture, self._command)
        return super().__call__(victim, defense)


def transfer(
    *,
    surrogate_path: str,
    surrogate_seed: int,
    surrogate_model: Any,
    victim_training: Mapping[str, Any] | None = None,
) -> Transfer:
    """Transfer threat with a trained surrogate victim.

    Args:
        surrogate_path: its checkpoint.
        surrogate_seed: its training seed.
        surrogate_model: its model config.
        victim_training: further keys of its training command.

    Raises:
        MissingVictimError: not trained yet; prints the command.
    """
    job = HydraConfig.get()
    # The victim's own model settings do not go for the surrogate; data and objective do.
    shared = [word for word in job.overrides.task if not word.startswith("model.")]
    choices = {**job.runtime.choices, "model": surrogate_model["name"]}
    command = train_command(choices, shared, surrogate_seed, settings=victim_training)
    return TrainedTransfer(
        surrogate_victim(surrogate_path, command),
        path=surrogate_path,
        model=_plain(surrogate_model),
        seed=surrogate_seed,
        train_command=command,
    )


def _plain(config: Any) -> dict[str, Any]:
    plain: Any = config
    if OmegaConf.is_config(config):
        plain = OmegaConf.to_container(config, resolve=True)
    return dict(plain)
