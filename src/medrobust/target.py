"""Differences of configs whose classes may have moved to another file."""

from collections.abc import Mapping
from typing import Any

PACKAGE = "medrobust."


def own_name(target: str) -> str:
    """Return the name of a class or function that does not depend on where this package keeps it.

    A class of the package is named by itself, a function by its module and itself (`resnet.build`);
    what other packages have keeps its full name.
    """
    if not target.startswith(PACKAGE):
        return target
    parts = target.split(".")
    return parts[-1] if parts[-1][:1].isupper() else ".".join(parts[-2:])


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Return (key, old value, new value) for every key in which two configs differ.

    A `_target_` is compared by its own name, so that moving a file makes no difference.
    """
    found: list[tuple[str, Any, Any]] = []
    for key in sorted(set(old) | set(new)):
        left, right = old.get(key), new.get(key)
        if key == "_target_" and isinstance(left, str) and isinstance(right, str):
            left, right = own_name(left), own_name(right)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append((f"{prefix}{key}", left, right))
    return found
