"""The part of a composed config that can change a result."""

from typing import Any, Final, NamedTuple

from omegaconf import DictConfig, OmegaConf

from medrobust.metric.operating_point import operating_rule

_GROUPS: Final = ("data", "model", "objective", "attack", "threat", "defense")
_KEYS: Final = ("seed", "victim_seed", "split", "quantize", "precision")
_ELSEWHERE: Final = {
    *("root", "manifests", "workers", "batch_size", "download", "chunk", "cache_bytes"),
    *("checkpoint", "victim_training"),
    *("pretrained", "encoder_weights"),  # of the training, recorded in the victim's recipe
}


class Science(NamedTuple):
    """The part of a config that decides a cell's numbers.

    Attributes:
        config: groups and keys, as plain data.
        keys: those outside of the groups.
    """

    config: dict[str, Any]
    keys: dict[str, Any]

    @classmethod
    def of(cls, config: DictConfig) -> "Science":
        """Resolve groups and keys; leave out paths, devices and loggers."""
        plain = OmegaConf.to_container(config, resolve=True)
        assert isinstance(plain, dict)
        keys = global_keys(config)
        groups = _without({name: plain[name] for name in _GROUPS})
        return cls(groups | keys, keys).judged_by(config.defender_draws)

    def judged_by(self, draws: int) -> "Science":
        """Return the same, judged by so many draws of a randomized defense.

        A single draw is left out, and a deterministic defense has no more: then a row has the id
        that it always had.
        """
        parts = (
            {key: value for key, value in part.items() if key != "defender_draws"}
            | ({"defender_draws": draws} if draws != 1 else {})
            for part in self
        )
        return Science(*parts)

    @classmethod
    def unresolved(cls, config: DictConfig) -> "Science":
        """Take the groups as they are written, of a config that cannot be resolved."""
        plain = OmegaConf.to_container(config, resolve=False)
        assert isinstance(plain, dict)
        return cls({name: plain.get(name) or {} for name in _GROUPS}, {})


def global_keys(config: DictConfig) -> dict[str, Any]:
    """Return the keys outside of the groups that decide a number.

    Further measures that are requested are among them; without any, a row has the id that it
    always had.
    """
    keys = {key: config[key] for key in _KEYS}
    keys |= {"perturbation": True} if config.perturbation else {}
    rule = operating_rule(config.operating_point)
    return keys | ({} if rule is None else {"operating_point": rule})


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without(item)
            for key, item in value.items()
            if key not in _ELSEWHERE and not key.endswith("_path")
        }
    return [_without(item) for item in value] if isinstance(value, list) else value
