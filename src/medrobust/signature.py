"""Keyword parameters of classes and functions, those of their bases included."""

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, Unpack, get_args, get_origin, get_type_hints, is_typeddict

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Parameters(NamedTuple):
    """Keyword parameters of a class or a function.

    Attributes:
        names: name -> parameter.
        kinds: name -> annotation, of those that have one.
        open: whether it may accept other names.
        handed: names that a typed `**options: Unpack[...]` passes on to a base class.
    """

    names: Mapping[str, inspect.Parameter]
    kinds: Mapping[str, Any]
    open: bool
    handed: frozenset[str] = frozenset()


@lru_cache(maxsize=1024)
def parameters_of(call: Callable[..., Any]) -> Parameters:
    """Return the parameters of a class or a function.

    Parameters behind `**rest` are those of the base class; behind a typed `**options: Unpack[T]`
    they are the keys of `T`, with the base's defaults. Only classes of this package are known to
    pass them on; others may accept names that their base does not have.
    """
    names: dict[str, inspect.Parameter] = {}
    kinds: dict[str, Any] = {}
    owners = [call]
    if isinstance(call, type):
        owners = [base for base in call.__mro__ if "__init__" in vars(base) and base is not object]
        if not owners:  # made by `__new__`, in C or not
            return Parameters(names, kinds, open=call.__new__ is not object.__new__)
    foreign = False
    handed: frozenset[str] = frozenset()
    wanted: frozenset[str] | None = None
    for owner in owners:
        function: Any = owner.__init__ if isinstance(owner, type) else owner  # type: ignore[misc]
        try:
            found = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # implemented in C without a signature
            return Parameters(names, kinds, open=True)
        try:
            typed = get_type_hints(function, include_extras=True)
        except Exception:  # an annotation that cannot be evaluated is ignored
            typed = {}
        for one in found:
            if one.kind in _VARIADIC or one.name in ("self", *names):
                continue
            if wanted is None or one.name in wanted:
                names[one.name] = one
                kinds |= {one.name: typed[one.name]} if one.name in typed else {}
        rest = next((one for one in found if one.kind is inspect.Parameter.VAR_KEYWORD), None)
        if rest is None:
            return Parameters(names, kinds, foreign, handed)
        keys = _keys(typed.get(rest.name))
        if keys is not None:
            wanted = keys if wanted is None else wanted & keys
            handed |= wanted
        else:
            foreign |= not (isinstance(owner, type) and owner.__module__.startswith("medrobust."))
    return Parameters(names, kinds, foreign, handed)


def _keys(annotation: Any) -> frozenset[str] | None:
    """Return the keys of `Unpack[T]` of a typed dictionary; None for another annotation."""
    if get_origin(annotation) is not Unpack:
        return None
    (kind,) = get_args(annotation)
    return frozenset(get_type_hints(kind)) if is_typeddict(kind) else None
