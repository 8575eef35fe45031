"""The recipe of a training: the settings that decide its result, as plain data."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Keys of paths and loading; the manifest's digest identifies the data.
_DATA_PLACES = ("root", "manifests", "file", "md5", "download", "workers", "cache_bytes")


def recipe_of(config: DictConfig, parts: Sequence[str] = ("model", "objective")) -> dict[str, Any]:
    """Return the part of a training config that can change a weight.

    Args:
        config: composed `conf/train.yaml`.
        parts: groups of the trained parts.

    Raises:
        MissingMandatoryValue: a `???` is not set.
    """
    groups = (*parts, "optimizer", "scheduler")
    every = config.trainer.get("check_val_every_n_epoch", 1)
    data = _plain(config.data)
    return {
        **{group: _plain(config[group]) for group in groups},
        "data": {key: value for key, value in data.items() if key not in _DATA_PLACES},
        "max_epochs": config.trainer.max_epochs,
        "precision": config.trainer.precision,
        **({} if every == 1 else {"check_val_every_n_epoch": every}),
        "early_stopping": config.early_stopping,
        "seed": config.seed,
    }


def _plain(node: DictConfig | None) -> Any:
    if node is None:
        return None
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
