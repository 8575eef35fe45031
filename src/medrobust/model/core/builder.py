"""Construction of networks from an architecture, plain data that can only name known networks.

An architecture from a file is not trusted. It names one of this package's builders and its
arguments, whose values are checked against the builder's annotations, so that nothing in it is a
path or a URL.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, get_type_hints

from torch import nn

from medrobust.model.core.error import VictimError
from medrobust.schema import SchemaError, check_type

PACKAGE = "medrobust.model"
WEIGHTS = ("pretrained", "encoder_weights")
"""Arguments of builders that download weights; not part of an architecture."""

_FAMILY = re.compile(r"[a-z0-9_]+")
_TARGET = re.compile(r"medrobust\.model\.([a-z0-9_]+)\.build")  # the older name of a builder


def find(architecture: Mapping[str, Any], source: str = "the architecture") -> Callable[..., Any]:
    """Return the `build` function of an architecture's network.

    The builder is named by its family, such as `resnet`, the name of its module anywhere in
    `medrobust.model`.

    Args:
        architecture: architecture of a victim.
        source: its origin, for the error.

    Raises:
        VictimError: the architecture names no builder of this package.
    """
    name = family(architecture, source)
    found = [
        build
        for module in _modules().get(name, ())
        if (build := vars(importlib.import_module(module)).get("build")) is not None
        and build.__module__ == module
    ]
    if len(found) != 1:
        raise VictimError(
            f"{source}: there is no builder {name!r} in {PACKAGE}; install the version of "
            f"medrobust that wrote it"
        )
    return found[0]


def built_by(architecture: Mapping[str, Any]) -> Callable[..., Any] | None:
    """Return the builder of an architecture; None for a network from elsewhere."""
    try:
        return find(architecture)
    except VictimError:
        return None


def family(architecture: Mapping[str, Any], source: str = "the architecture") -> str:
    """Return the name of an architecture's builder, such as `resnet`.

    Raises:
        VictimError: the architecture names no builder, or not by a plain name.
    """
    if "builder" in architecture and "_target_" not in architecture:
        name = str(architecture["builder"])
        if _FAMILY.fullmatch(name):
            return name
    elif "builder" not in architecture:
        name = str(architecture.get("_target_"))
        if old := _TARGET.fullmatch(name):
            return old[1]
    else:
        name = f"{architecture['builder']} and {architecture['_target_']}"
    raise VictimError(
        f"{source}: architecture is built by {name!r}, expected the name of a builder in "
        f"{PACKAGE}, such as resnet"
    )


def identity(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of an architecture that enters a victim's fingerprint.

    It names the builder as the first checkpoints did, so that a fingerprint depends neither on the
    location of the builder's module nor on the age of the checkpoint.
    """
    kept = dict(architecture)
    name = kept.pop("builder", None)
    return kept if name is None else {"_target_": f"medrobust.model.{name}.build", **kept}


def described(network: nn.Module) -> dict[str, Any]:
    """Return plain data for a network of which nothing else is known: its class and structure."""
    kind = type(network)
    return {"network": f"{kind.__module__}.{kind.__qualname__}", "structure": repr(network)}


def check_architecture(architecture: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the checked arguments for the builder of an architecture.

    Args:
        architecture: architecture of a victim.
        source: its origin, for the error.

    Raises:
        VictimError: the builder is unknown, or an argument is unknown, missing, or of a wrong
            type or name.
    """
    build = find(architecture, source)
    given = {key: value for key, value in architecture.items() if key not in _NAMES_BUILDER}
    kinds = get_type_hints(build, include_extras=True)
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(build).parameters.items()
        if name not in WEIGHTS
    }
    unknown = sorted(set(given) - set(parameters))
    missing = sorted(
        name
        for name, parameter in parameters.items()
        if name not in given and parameter.default is inspect.Parameter.empty
    )
    if unknown or missing:
        raise VictimError(
            f"{source}: the architecture has unknown arguments {unknown} and lacks {missing}, "
            f"builder {family(architecture)} takes {sorted(parameters)}"
        )
    try:
        for name, value in given.items():
            check_type(value, kinds[name], f"architecture.{name}")
    except SchemaError as error:
        raise VictimError(f"{source}: {error}") from None
    return given


_NAMES_BUILDER = ("builder", "_target_")


@cache
def _modules() -> dict[str, list[str]]:
    """Return the modules of the package by their last name; imports folders, but no module."""
    package = importlib.import_module(PACKAGE)
    found: dict[str, list[str]] = {}
    for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if not module.ispkg:
            found.setdefault(module.name.rpartition(".")[2], []).append(module.name)
    return found
