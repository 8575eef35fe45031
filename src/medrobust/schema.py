"""Check that plain data from a file has the types that its reader declares."""

import math
import types
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

_LARGEST = 2**63
_PLAIN = (None, types.NoneType, bool, int, float, str)
_LISTS = (list, Sequence, Iterable, Collection)
_SHOWN = 60  # characters of a wrong value in a message


class SchemaError(ValueError):
    """Raised when a value from a file does not have the type that its reader declares."""


class Made:
    """Placeholder for the object that a `_target_` node creates.

    Args:
        kind: class of the object; None if it is known only after creation.
    """

    def __init__(self, kind: type | None) -> None:
        self.kind = kind

    def may_be(self, kind: Any) -> bool:
        """Return whether the object may be an instance of a type."""
        if self.kind is None or not isinstance(kind, type):
            return self.kind is None or kind is not None
        try:
            return issubclass(self.kind, (int, float) if kind is float else kind)
        except TypeError:  # a protocol without isinstance checks
            return True

    def __repr__(self) -> str:
        """Return the name of the class."""
        return f"a {self.kind.__name__}" if self.kind else "an object"


def check_type(value: Any, kind: Any, name: str) -> None:
    """Check a value recursively against a type annotation.

    Numbers must be finite, and text must have no control characters, as it is shown in terminals.

    Args:
        value: value from a file.
        kind: `bool`, `int`, `float`, `str`, `None`, a union, a list, sequence or mapping of them,
            a tuple, `Literal`, `Any` for any plain data, or `Annotated[kind, check]` with a
            function that raises ValueError on invalid values. Only a `Made` can be of another
            class; annotations that isinstance cannot check accept everything.
        name: name of the value, for the error.

    Raises:
        SchemaError: the value has another type.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        check_type(value, arguments[0], name)
        for check in () if isinstance(value, Made) else arguments[1:]:
            try:
                check(value)
            except ValueError as error:
                text = str(error)
                own = text.startswith(name)  # it names the value, or a part of it, already
                raise SchemaError(text if own else f"{name}: {text}") from None
    elif kind in (Any, object):
        _check_plain(value, name)
    elif origin in (Union, types.UnionType):
        if not any(_is(value, option, name) for option in arguments):
            raise _wrong(value, kind, name)
    elif origin is Literal:
        if not any(type(value) is type(one) and value == one for one in arguments):
            raise _wrong(value, kind, name)
    elif isinstance(value, Made):
        if not value.may_be(origin or kind):
            raise _wrong(value, kind, name)
    elif origin is Callable:  # plain data cannot be called
        raise _wrong(value, kind, name)
    elif origin in _LISTS or (origin is tuple and arguments[1:] == (...,)):
        if not isinstance(value, list):
            raise _wrong(value, kind, name)
        for index, item in enumerate(value):
            check_type(item, arguments[0], f"{name}[{index}]")
    elif origin is tuple:
        if not isinstance(value, list) or len(value) != len(arguments):
            raise _wrong(value, kind, name)
        for index, (item, part) in enumerate(zip(value, arguments, strict=True)):
            check_type(item, part, f"{name}[{index}]")
    elif is_typeddict(kind):
        _check_record(value, kind, name)
    elif origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _wrong(value, kind, name)
        for key, item in value.items():
            check_type(key, arguments[0], f"a key of {name}")
            check_type(item, arguments[1], f"{name}.{key}")
    elif (isinstance(kind, type) or kind is None) and not _is_scalar(value, kind):
        raise _wrong(value, kind, name)


def _check_record(value: Any, kind: Any, name: str) -> None:
    """Check a mapping against a TypedDict."""
    hints = get_type_hints(kind, include_extras=True)
    if not isinstance(value, dict) or not set(value) <= set(hints):
        raise _wrong(value, kind, name)
    if not set(value) >= kind.__required_keys__:
        raise _wrong(value, kind, name)
    for key, item in value.items():
        check_type(item, hints[key], f"{name}.{key}")


def check_fields(owner: type, node: Mapping[str, Any], where: str) -> None:
    """Check plain data against the annotations of a dataclass.

    Nodes of other dataclasses are left to those, and a single text is accepted for a list of
    texts.

    Args:
        owner: the dataclass.
        node: its fields; a field that is None or absent has its default.
        where: name of the node, for the error.

    Raises:
        SchemaError: a value has another type.
    """
    for key, kind in get_type_hints(owner, include_extras=True).items():
        if key not in node or node[key] is None or _is_record(kind):
            continue
        check_type(node[key], kind | str if kind == tuple[str, ...] else kind, f"{where}.{key}")


def _is_record(kind: Any) -> bool:
    return is_dataclass(kind) or any(is_dataclass(part) for part in get_args(kind))


def _is(value: Any, kind: Any, name: str) -> bool:
    try:
        check_type(value, kind, name)
    except SchemaError:
        return False
    return True


def _is_scalar(value: Any, kind: Any) -> bool:
    if kind in (None, types.NoneType):
        return value is None
    if kind is float:
        return _is_scalar(value, int) or (type(value) is float and math.isfinite(value))
    if kind is int:
        return type(value) is int and abs(value) <= _LARGEST  # a bool does not count as an int
    if kind in (str, Path) or (isinstance(kind, type) and issubclass(kind, Enum)):
        return isinstance(value, str) and _printable(value)
    if kind in (tuple, set, frozenset, Sequence, Iterable, Collection):
        return isinstance(value, list)
    if kind is complex:
        return _is_scalar(value, float)
    return type(value) is kind


def _printable(text: str) -> bool:
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)


def _check_plain(value: Any, name: str) -> None:
    if isinstance(value, dict):
        check_type(value, dict[str, Any], name)
    elif isinstance(value, list):
        check_type(value, list[Any], name)
    elif not isinstance(value, Made) and not any(
        _is_scalar(value, kind) for kind in (None, bool, float, str)
    ):
        raise _wrong(value, "plain data", name)


def _wrong(value: Any, kind: Any, name: str) -> SchemaError:
    shown = " ".join(repr(value).split())
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return SchemaError(f"{name} is {shown}, expected {_said(kind)}")


def _said(kind: Any) -> str:
    """Return the name of a type as config authors know it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is bool:
        return "bool (true or false)"
    if kind in (None, types.NoneType):
        return "null"
    if origin is Annotated:
        return _said(arguments[0])
    if origin is Callable:
        return "a function or an object that is called (a node with _target_)"
    if origin in (Union, types.UnionType):
        return " | ".join(_said(part) for part in arguments)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if is_typeddict(kind):
        fields = get_type_hints(kind, include_extras=True).items()
        return "{" + ", ".join(f"{key}: {_said(part)}" for key, part in fields) + "}"
    if origin in (*_LISTS, tuple):
        return f"list of {_said(arguments[0])}"
    if type(kind) is type or isinstance(kind, type):
        return kind.__name__ if origin is None else str(kind)
    return str(kind)
