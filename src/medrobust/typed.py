"""Checks a composed config against the signatures of what it names, once, before anything runs."""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, InterpolationToMissingValueError

from medrobust.schema import Made, SchemaError, check_type
from medrobust.signature import parameters_of

_HYDRA: Mapping[str, Any] = {
    "_target_": str,
    "_partial_": bool,
    "_args_": list[Any],
    "_recursive_": bool,
    "_convert_": Literal["none", "partial", "object", "all"],
}
"""Keys of a node that are Hydra's own."""

_DEFAULTS = {"_partial_": False, "_args_": [], "_recursive_": True, "_convert_": "none"}
_REFERENCE = re.compile(r"\$\{\s*(?:oc\.select:\s*)?([\w.]+)\s*(?=[}\[,])")


class ConfigError(ValueError):
    """A key that nothing has, or a value of another type than its key takes."""


def check_config(
    config: DictConfig,
    keys: Mapping[str, Any],
    *,
    optional: Collection[str] = (),
    running: bool = True,
) -> None:
    """Check every key and every value of a config.

    A node with `_target_` has the keys and the types of what it names: the parameters and the
    annotations of that class or function. Other keys have the types in `keys`.

    Args:
        config: composed by Hydra; its node `hydra` is Hydra's own.
        keys: name -> type, see `schema.check_type`; a mapping of names and types stands for a
            node of them.
        optional: those that need not be there.
        running: a job runs; before a sweep, what refers to its jobs is left to them.

    Raises:
        ConfigError: an unknown key, or a value of another type; names it and what is expected.
    """
    plain = {str(name): value for name, value in _resolved(config, running)}
    lacking = [name for name in keys if name not in config and name not in optional]
    if lacking:
        raise ConfigError(
            f"{lacking[0]} is missing, which every config of this command has: leave out "
            f"~{lacking[0]}"
        )
    referred = set(_REFERENCE.findall(OmegaConf.to_yaml(config)))
    _check_keys(plain, keys, "", referred)
    # Groups refer to the other keys; a wrong value is told under the name that it was given.
    for name in sorted(plain, key=lambda name: keys.get(name, Any) is Any):
        _check(plain[name], keys.get(name, Any), name, referred)


def check_node(value: Any, name: str) -> None:
    """Check plain data of one node and all below, as `check_config` does.

    Raises:
        ConfigError: see there.
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
        except (InterpolationResolutionError, InterpolationToMissingValueError):
            if running:
                raise


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
    """Return plain data in which each node with `_target_` is checked and stands for its result."""
    if isinstance(value, dict):
        parts = {key: _made(item, f"{name}.{key}") for key, item in value.items()}
        return _checked(parts, name) if "_target_" in value else parts
    if isinstance(value, list):
        return [_made(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if value == "???":
        raise ConfigError(f"{name} has no value and needs one; set {name}=…")
    return value


def _checked(node: Mapping[str, Any], name: str) -> Made:
    """Check the arguments of a `_target_`; return what stands for its result."""
    try:
        for key, kind in _HYDRA.items():
            check_type(node.get(key, _DEFAULTS.get(key)), kind, f"{name}.{key}")
    except SchemaError as error:
        raise ConfigError(str(error)) from None
    target = node["_target_"]
    try:
        call = get_object(target)
    except Exception as error:  # whatever importing it raises
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
    """Refuse unknown keys; one of somebody's own is no slip where other values refer to it."""
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
