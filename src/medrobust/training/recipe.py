"""What decides a training's result, as plain data."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Where data lie and how they are fetched; what they are is told by their manifest's digest.
_DATA_PLACES = ("root", "manifests", "file", "md5", "download", "workers", "cache_bytes")


def recipe_of(config: DictConfig) -> dict[str, Any]:
    """The part of a training config that can change a weight: no paths, devices or loggers.

    Raises:
        MissingMandatoryValue: a `???` was left open.
    """
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    chosen = ("model", "objective", "optimizer", "scheduler", "early_stopping", "seed")
    return {
        **{key: plain[key] for key in chosen},
        "max_epochs": plain["trainer"]["max_epochs"],
        "precision": plain["trainer"]["precision"],
        "data": {key: value for key, value in plain["data"].items() if key not in _DATA_PLACES},
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`key: old -> new` for every key that two recipes differ in."""
    found: list[str] = []
    for key in sorted(set(old) | set(new)):
        left, right = old.get(key), new.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append(f"{prefix}{key}: {left} -> {right}")
    return found
