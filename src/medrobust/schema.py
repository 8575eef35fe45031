"""Checks that plain data read from a file has the types that its reader declares."""

import math
import types
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

_LARGEST = 2**63
_SHOWN = 60  # characters of a wrong value in a message


class SchemaError(ValueError):
    """A value from a file is not of the type that its reader declares."""


def check_type(value: Any, kind: Any, name: str) -> None:
    """Check a value against a type annotation, all the way down.

    Numbers must be finite, and text must have no control characters: it is shown in terminals.

    Args:
        value: what a file holds.
        kind: `bool`, `int`, `float`, `str`, `None`, a union, a list, sequence or mapping of them,
            `Any` for any plain data, or `Annotated[kind, check]` with a function that raises
            ValueError on values that it refuses.
        name: what the value is called, for the error.

    Raises:
        SchemaError: the value is of another type.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        check_type(value, arguments[0], name)
        for check in arguments[1:]:
            try:
                check(value)
            except ValueError as error:
                raise SchemaError(f"{name}: {error}") from None
    elif kind is Any:
        _check_plain(value, name)
    elif origin in (Union, types.UnionType):
        if not any(_is(value, option, name) for option in arguments):
            raise _wrong(value, kind, name)
    elif origin in (list, Sequence):
        if not isinstance(value, list):
            raise _wrong(value, kind, name)
        for index, item in enumerate(value):
            check_type(item, arguments[0], f"{name}[{index}]")
    elif origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _wrong(value, kind, name)
        for key, item in value.items():
            check_type(key, arguments[0], f"a key of {name}")
            check_type(item, arguments[1], f"{name}.{key}")
    elif not _is_scalar(value, kind):
        raise _wrong(value, kind, name)


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
        return type(value) is int and abs(value) <= _LARGEST  # a bool is no int
    if kind is str:
        return isinstance(value, str) and _printable(value)
    return type(value) is kind


def _printable(text: str) -> bool:
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)


def _check_plain(value: Any, name: str) -> None:
    if isinstance(value, dict):
        check_type(value, dict[str, Any], name)
    elif isinstance(value, list):
        check_type(value, list[Any], name)
    elif not any(_is_scalar(value, kind) for kind in (None, bool, float, str)):
        raise _wrong(value, "plain data", name)


def _wrong(value: Any, kind: Any, name: str) -> SchemaError:
    shown = " ".join(repr(value).split())
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    expected = kind.__name__ if type(kind) is type else kind
    return SchemaError(f"{name} is {shown}, expected {expected}")
