"""Check the objects among the arguments of a constructor."""

import types
from importlib import import_module
from importlib.util import find_spec
from inspect import isabstract
from typing import Any, Union, get_args, get_origin

_SHOWN = 60  # characters of a wrong value in a message


def check_argument(owner: str, name: str, value: Any, kind: Any) -> None:
    """Check an argument whose annotation is a class of this package, bool, or one of them or None.

    Other annotations accept everything here: their constructors convert and check.

    Args:
        owner: name of the class that is constructed, for the error.
        name: name of the argument.
        value: the argument.
        kind: its annotation.

    Raises:
        TypeError: the argument is no such object.
    """
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if kind in (None, types.NoneType) or not all(_is_known(option) for option in options):
        return
    options = tuple(types.NoneType if option is None else option for option in options)
    if isinstance(value, options):
        return
    wanted = next(option for option in options if option is not types.NoneType)
    expected = "true or false (bool)" if wanted is bool else f"an object of {wanted.__name__}"
    optional = " or None" if types.NoneType in options else ""
    raise TypeError(
        f"{owner}.{name} is {_shown(value)}, expected {expected}{optional}; pass, for example, "
        f"{name}={_example(value, wanted)}"
    )


def _is_known(kind: Any) -> bool:
    if kind in (bool, None, types.NoneType):
        return True
    ours = isinstance(kind, type) and kind.__module__.partition(".")[0] == "medrobust"
    return ours and not getattr(kind, "_is_protocol", False)


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"a {type(value).__name__}"


def _example(value: Any, wanted: type) -> str:
    """Return code for an object: of the class that was given or named, or the first that fits."""
    if wanted is bool:
        return "True"
    if isinstance(value, type) and issubclass(value, wanted):
        return f"{value.__name__}(…)"
    first, *_ = (part for part in wanted.__module__.split(".") if part != "medrobust")
    folder, _, file = wanted.__module__.rpartition(".")
    places = (f"{folder.removesuffix('.core')}.{file}", f"medrobust.{first}", "medrobust")
    for place in filter(find_spec, places):
        module = import_module(place)
        known = [
            name
            for name in getattr(module, "__all__", ())
            if isinstance(found := getattr(module, name), type)
            and issubclass(found, wanted)
            and not isabstract(found)
        ]
        named = [
            name for name in known if name.casefold() == str(value).replace("_", "").casefold()
        ]
        if known:
            return f"{place}.{(named or known)[0]}(…)"
    return f"{wanted.__module__}.{wanted.__qualname__}(…)"
