"""The part of a composed config that can change a result."""

from typing import Any, Final

from omegaconf import DictConfig, OmegaConf

_GROUPS: Final = ("data", "model", "objective", "attack", "threat", "defense")
_KEYS: Final = ("seed", "victim_seed", "split", "quantize", "precision")
_ELSEWHERE: Final = {
    *("root", "manifests", "workers", "batch_size", "download", "chunk", "cache_bytes"),
    "checkpoint",
    *("pretrained", "encoder_weights"),  # of the training, which the victim's recipe tells
}


def scientific_config(config: DictConfig) -> dict[str, Any]:
    """Groups and keys that decide a cell's numbers, resolved; no paths, devices or loggers."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    kept: dict[str, Any] = _without({name: plain[name] for name in _GROUPS})
    return kept | global_keys(config)


def unresolved(config: DictConfig) -> dict[str, Any]:
    """Return the same groups as they were written, of a config that cannot be resolved."""
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return {name: plain.get(name) or {} for name in _GROUPS}


def global_keys(config: DictConfig) -> dict[str, Any]:
    """Those outside of the groups.

    Further measures that were asked for are among them; without any, a row has the id that it
    always had.
    """
    keys = {key: config[key] for key in _KEYS}
    return keys | ({"perturbation": True} if config.perturbation else {})


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without(item)
            for key, item in value.items()
            if key not in _ELSEWHERE and not key.endswith("_path")
        }
    return [_without(item) for item in value] if isinstance(value, list) else value
