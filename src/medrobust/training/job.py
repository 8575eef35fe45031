"""One training of a victim or a defense, from a composed config to its checkpoint."""

from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from medrobust.data.core.base import MedicalDataModule
from medrobust.defense.core.learned import Learned
from medrobust.keys import train as train_keys
from medrobust.model.core.checkpoint import TrainedVictim, load_victim
from medrobust.target import targets
from medrobust.training.command import expected_victim, train_command
from medrobust.training.defense.train import nothing_to_train, train_defense
from medrobust.training.recipe import recipe_of
from medrobust.training.victim.initial import InitialCheckpointError
from medrobust.training.victim.train import train
from medrobust.typed import check_config

_PARTS = ("optimizer", "scheduler", "trainer", "logger")
_WORDS = (
    *("checkpoint", "seed", "early_stopping", "resume"),
    *("overwrite", "deterministic", "progress_bar"),
)


def run_training(config: DictConfig) -> None:
    """Train the defense of a config if it has one, else its victim.

    Args:
        config: composed `conf/train.yaml`.

    Raises:
        NothingToTrainError: the defense has no weights.
        ConfigError: a key is unknown, or a value has the wrong type.
        InitialCheckpointError: a defense is to be trained, but `initial_checkpoint` is set.
    """
    _check_learns(config)
    check_config(config, train_keys(), optional=("defense",))
    if config.get("defense") is not None and config.initial_checkpoint is not None:
        raise InitialCheckpointError(
            f"initial_checkpoint={config.initial_checkpoint} is for training a victim, but "
            f"defense={HydraConfig.get().runtime.choices['defense']} is to be trained; set it to "
            f"null"
        )
    data = instantiate(config.data)
    how: dict[str, Any] = {
        "data": data,
        **{key: instantiate(config[key]) for key in _PARTS},
        **{key: config[key] for key in _WORDS},
    }
    if config.get("defense") is None:
        train(
            model=lambda classes: instantiate(config.model, num_classes=classes),
            objective=instantiate(config.objective),
            recipe=recipe_of(config),
            initial_checkpoint=config.initial_checkpoint,
            **how,
        )
    else:
        train_defense(
            defense=lambda: instantiate(config.defense),
            victim=lambda: _victim(config, data),
            recipe=recipe_of(config, parts=()),
            **how,
        )


def _check_learns(config: DictConfig) -> None:
    """Raise if no part of the defense to train has weights.

    Such a defense may refer to keys that only `medrobust evaluate` has.
    """
    node = config.get("defense")
    if not OmegaConf.is_dict(node):
        return
    try:
        made = [get_object(path) for path in targets(OmegaConf.to_container(node, resolve=False))]
    except Exception:  # what cannot be imported is told by `check_config`
        return
    if not any(isinstance(one, type) and issubclass(one, Learned) for one in made):
        raise nothing_to_train(str(HydraConfig.get().runtime.choices["defense"]))


def _victim(config: DictConfig, data: MedicalDataModule) -> TrainedVictim:
    """Load the victim for which a defense is trained."""
    job = HydraConfig.get()
    choices, overrides = dict(job.runtime.choices), list(job.overrides.task)
    return load_victim(
        config.victim_path,
        train_command=train_command(choices, overrides, config.victim_seed, phantom=data.phantom),
        expected=expected_victim(config, data),
    )
