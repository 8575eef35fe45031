"""Check a composed config, before anything runs, against the signatures that it names."""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationResolutionError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
)

from medrobust.schema import Made, SchemaError, check_type
from medrobust.signature import parameters_of

_HYDRA: Mapping[str, Any] = {
    "_target_": str,
    "_partial_": bool,
    "_args_": list[Any],
    "_recursive_": bool,
    "_convert_": Literal["none", "partial", "object", "all"],
}
"""Hydra's own keys of a node, with their types."""

_DEFAULTS = {"_partial_": False, "_args_": [], "_recursive_": True, "_convert_": "none"}
_REFERENCE = re.compile(r"\$\{\s*(?:oc\.select:\s*)?([\w.]+)\s*(?=[}\[,])")


class ConfigError(ValueError):
    """Raised when a config has an unknown key, or a value of a wrong type."""


def check_config(
    config: DictConfig,
    keys: Mapping[str, Any],
    *,
    optional: Collection[str] = (),
    running: bool = True,
) -> None:
    """Check every key and every value of a config.

    A node with `_target_` is checked against the parameters and annotations of that class or
    function, other keys against the types in `keys`.

    Args:
        config: config composed by Hydra; its node `hydra` is not checked.
        keys: name -> type, see `schema.check_type`; a mapping describes the keys of a node.
        optional: keys that may be absent.
        running: whether a job runs; before a sweep, references to its jobs are not resolved.

    Raises:
        ConfigError: a key is unknown, a value has another type than expected, or refers to a key
            that does not exist.
    """
    plain = {str(name): value for name, value in _resolved(config, running)}
    lacking = [name for name in keys if name not in config and name not in optional]
    if lacking:
        raise ConfigError(
            f"{lacking[0]} is missing, but every config of this command needs it: leave out "
            f"~{lacking[0]}"
        )
    referred = set(_REFERENCE.findall(OmegaConf.to_yaml(config)))
    _check_keys(plain, keys, "", referred)
    # Groups refer to the other keys; check those first to report a wrong value under its own key.
    for name in sorted(plain, key=lambda name: keys.get(name, Any) is Any):
        _check(plain[name], keys.get(name, Any), name, referred)


def check_node(value: Any, name: str) -> None:
    """Check plain data of a node recursively, like `check_config`.

    Raises:
        ConfigError: a key is unknown, or a value has another type than expected.
    """
    _check(value, Any, name, ())


def _resolved(config: DictConfig, running: bool) -> Iterator[tuple[Any, Any]]:
    for name in config:
        if name == "hydra":
            continue
        try:
            value = config[name]
            plain = OmegaConf.is_config(value)
            yield name, OmegaConf.to_container(value, resolve=True) if plain else value
        except OmegaConfBaseException as error:
            later = (InterpolationResolutionError, InterpolationToMissingValueError)
            if not running and isinstance(error, later):
                continue
            raise _unresolved(error, str(name)) from None


def _unresolved(error: OmegaConfBaseException, name: str) -> ConfigError:
    reason = str(error.msg or error).partition("\n")[0]
    key = error.full_key or name
    return ConfigError(f"{key} cannot be resolved ({reason}); set {key} to a value of its own")


def _check(value: Any, kind: Any, name: str, referred: Collection[str]) -> None:
    if isinstance(kind, Mapping):
        if not isinstance(value, dict):
            raise ConfigError(f"{name}={value!r}, expected keys {', '.join(kind)}")
        _check_keys(value, kind, f"{name}.", referred)
        for key, item in value.items():
            _check(item, kind.get(key, Any), f"{name}.{key}", referred)
        return
    found = _made(value, name)
    try:
        check_type(found, kind, name)
    except SchemaError as error:
        raise ConfigError(str(error)) from None


def _made(value: Any, name: str) -> Any:
    """Return plain data with each `_target_` node checked and replaced by a `Made`."""
    if isinstance(value, dict):
        parts = {key: _made(item, f"{name}.{key}") for key, item in value.items()}
        return _checked(parts, name) if "_target_" in value else parts
    if isinstance(value, list):
        return [_made(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if value == "???":
        raise ConfigError(f"{name} has no value and needs one; set {name}=…")
    return value


def _checked(node: Mapping[str, Any], name: str) -> Made:
    """Check the arguments of a `_target_` and return a placeholder for its result."""
    try:
        for key, kind in _HYDRA.items():
            check_type(node.get(key, _DEFAULTS.get(key)), kind, f"{name}.{key}")
    except SchemaError as error:
        raise ConfigError(str(error)) from None
    target = node["_target_"]
    try:
        call = get_object(target)
    except Exception as error:  # importing it may raise anything
        cause = error.__cause__ or error
        raise ConfigError(f"{name}._target_={target} cannot be imported: {cause}") from error
    made = Made(call if isinstance(call, type) and not node.get("_partial_") else None)
    given = {key: value for key, value in node.items() if key not in _HYDRA}
    known = parameters_of(call)
    if not known.open:
        _check_keys(given, known.names, f"{name}.", ())
    for key, value in given.items():
        if key in known.kinds and not _equal(value, known.names[key].default):
            try:
                check_type(value, known.kinds[key], f"{name}.{key}")
            except SchemaError as error:
                raise ConfigError(str(error)) from None
    return made


def _equal(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _check_keys(
    node: Mapping[str, Any], known: Collection[str], at: str, referred: Collection[str]
) -> None:
    """Raise on unknown keys, except keys of the user's own that other values refer to."""
    for key in node:
        own = f"{at}{key}"
        if key in known or any(name == own or name.startswith(f"{own}.") for name in referred):
            continue
        near = get_close_matches(str(key), [str(one) for one in known], n=1)
        hint = f"did you mean {at}{near[0]}? " if near else ""
        raise ConfigError(
            f"{at}{key} is no key; {hint}{at.rstrip('.') or 'the config'} has "
            f"{', '.join(sorted(map(str, known))) or 'none'}"
        )
