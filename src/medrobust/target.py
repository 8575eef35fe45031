"""Compare configs and settings whose classes may have moved to another file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PACKAGE = "medrobust."


def own_name(target: str) -> str:
    """Return the name of a class or function, independent of its place in this package.

    A class of the package keeps its own name, a function its module and name (`resnet.build`), and
    code of other packages its full path.
    """
    if not target.startswith(PACKAGE):
        return target
    parts = target.split(".")
    return parts[-1] if parts[-1][:1].isupper() else ".".join(parts[-2:])


def targets(value: Any) -> Iterator[str]:
    """Yield the path in every `_target_` of plain data, from the outside in."""
    if isinstance(value, Mapping):
        if isinstance(value.get("_target_"), str):
            yield value["_target_"]
        for item in value.values():
            yield from targets(item)
    elif isinstance(value, list):
        for item in value:
            yield from targets(item)


def by_name(value: Any) -> Any:
    """Return plain data in which classes and functions of this package have their own names.

    Data written before a file moved then equals data written afterwards.
    """
    if isinstance(value, Mapping):
        old = {"revision"} if "class" in value else ()  # code digests took its place
        items = [(key, item) for key, item in value.items() if key not in old]
        return {key: _named(key, item) for key, item in items}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [by_name(item) for item in value]
    return value


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (key, old value, new value) for every key in which two configs differ.

    A class or function of this package is compared by its own name.
    """
    return _differences(by_name(old), by_name(new), "")


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str
) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for key in sorted(set(old) | set(new)):
        left, right = old.get(key), new.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append((f"{prefix}{key}", left, right))
    return found


def _named(key: Any, value: Any) -> Any:
    if isinstance(value, str) and key == "_target_":
        return own_name(value)
    if isinstance(value, str) and key == "class":  # older settings have the path of the class
        return value.rpartition(".")[2]
    return by_name(value)
