"""Objects that record their configuration, so that no argument is missing in a fingerprint."""

import inspect
from abc import ABCMeta
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from medrobust.arguments import check_argument
from medrobust.code.digest import code_digest, foreign, module_digest
from medrobust.code.module import note
from medrobust.fingerprint import digest
from medrobust.signature import parameters_of

Code = type | Callable[..., Any]
Made = TypeVar("Made")


@runtime_checkable
class Computes(Protocol):
    """Protocol of objects that list the classes and functions that they compute with."""

    @property
    def computed_by(self) -> tuple[Code, ...]:
        """Return the classes and functions, each once."""
        ...


class _Construction(ABCMeta):
    """Metaclass that notes when a constructor has returned."""

    def __call__(cls: type[Made], *args: Any, **kwargs: Any) -> Made:
        """Return a new object, whose arguments are final."""
        made: Made = super().__call__(*args, **kwargs)  # type: ignore[misc]
        object.__setattr__(made, "_constructed", True)
        return made

    @property
    def __signature__(cls) -> inspect.Signature:
        """Return the signature of the constructor, for help and editors."""
        found = inspect.signature(cls.__init__)  # type: ignore[misc]
        return found.replace(parameters=list(found.parameters.values())[1:])


class Configured(metaclass=_Construction):
    """Mixin that records every constructor argument, including defaults, and the class's code.

    The arguments are captured before `__init__` runs. A new argument thus enters the fingerprint
    and every cache key automatically. Arguments that cannot change a result (a chunk size, a
    progress bar) are listed in `unscientific`. An argument that a class gained later, whose default
    is what the class did before, is listed in `added`: it counts only where it has another value,
    so that the ids of earlier rows stay.

    An argument that is an object (a loss, a noise) or a bool is checked against its annotation. The
    attribute of an argument is final once the constructor has returned: the fingerprint would not
    see another value, and a cached set of the first would be replayed.

    A class is identified by its own name, not by its module, so that its file may move. The digest
    of its code is part of the fingerprint; see `medrobust.code.digest`.
    """

    unscientific: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Record the source that the class runs, since its file may be edited meanwhile."""
        super().__init_subclass__(**kwargs)
        note(cls.__module__)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Capture the arguments.

        Raises:
            TypeError: an argument is unknown, or an object or a bool of another type.
        """
        self = super().__new__(cls)
        # bind_partial: copy and pickle create the object without arguments and restore its dict.
        signature = inspect.signature(cls.__init__)
        bound = signature.bind_partial(self, *args, **kwargs)
        bound.apply_defaults()
        captured: dict[str, Any] = {}
        for name, value in list(bound.arguments.items())[1:]:
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                captured |= value
            elif kind is not inspect.Parameter.VAR_POSITIONAL or value:  # object.__init__ has one
                captured[name] = value
        known = parameters_of(cls)  # type: ignore[arg-type]  # mypy: a class is hashable
        for name in kwargs if known.handed else ():
            if name not in known.names:
                raise TypeError(f"{cls.__name__} got an unexpected keyword argument {name!r}")
        for name, value in captured.items():
            if name in known.kinds and value is not known.names[name].default:
                check_argument(cls.__name__, name, value, known.kinds[name])
        for name in sorted(known.handed - captured.keys()):  # defaults passed on by `**options`
            captured[name] = known.names[name].default
        object.__setattr__(self, "_captured", captured)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; that of an argument only in the constructor.

        Raises:
            AttributeError: the attribute is an argument's, and the object is constructed.
        """
        captured: dict[str, Any] = self.__dict__.get("_captured", {})
        built = "_constructed" in self.__dict__
        if built and name in captured and name not in self.unscientific:
            raise AttributeError(
                f"{type(self).__name__}.{name} is set by the constructor and cannot become "
                f"{value!r:.60}, since fingerprint and cache keep {captured[name]!r:.60}; make a "
                f"new object with {name}=…"
            )
        super().__setattr__(name, value)

    def derive(self, **attributes: Any) -> None:
        """Set attributes, those of arguments too, to what the object itself derives.

        For a class's own methods: what a loss binds to a batch, or a defense reads off its victim,
        is decided by the arguments and by batch or victim, which cache keys hold.
        """
        for name, value in attributes.items():
            super().__setattr__(name, value)

    @property
    def settings(self) -> dict[str, Any]:
        """Return class and arguments as plain data.

        Raises:
            TypeError: an argument is neither plain data, nor code, nor `Configured`.
        """
        kind = type(self)
        arguments = {
            name: _plain(value, f"{kind.__name__}.{name}") for name, value in self._scientific()
        }
        return {"class": kind.__qualname__, **arguments}

    @property
    def computed_by(self) -> tuple[Code, ...]:
        """Return the classes and functions of the object and of its arguments."""
        parts = (_code(value) for _, value in self._scientific())
        return (type(self), *(one for part in parts for one in part))

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the settings and the code."""
        return digest([self.settings, *self.code_digests()])

    def code_digests(self) -> list[list[str | None]]:
        """Return the digests of the object's code and of the modules that a config names."""
        return [digests(self.computed_by), [module_digest(name) for name in self.named_by]]

    @property
    def named_by(self) -> tuple[str, ...]:
        """Return the modules outside the package that a config names for this object."""
        named: tuple[str, ...] = getattr(self, "_named_by", ())
        return named

    def _scientific(self) -> list[tuple[str, Any]]:
        captured: dict[str, Any] = self._captured  # type: ignore[attr-defined]
        known = parameters_of(type(self)).names if self.added else {}  # type: ignore[arg-type]
        return [
            (name, value)
            for name, value in captured.items()
            if name not in self.unscientific
            and not (name in self.added and value == known[name].default)
        ]


def all_code(*parts: "Code | Computes") -> tuple[Code, ...]:
    """Return the classes and functions of several parts, each once."""
    found = (
        part.computed_by if not isinstance(part, type) and isinstance(part, Computes) else (part,)
        for part in parts
    )
    return tuple(dict.fromkeys(one for codes in found for one in codes))


def digests(code: Sequence[Code]) -> list[str | None]:
    """Return the code digest of each class or function, None if unknown."""
    return [code_digest(one) for one in code]


def unsourced(code: Sequence[Code]) -> list[str]:
    """Return the names of code without source, whose results cannot be reused by a later run."""
    return sorted({title(one) for one in code if code_digest(one) is None})


def outside(code: Sequence[Code]) -> dict[str, str | None]:
    """Return the digests of code outside this package by name; None for code without source."""
    return {title(one): code_digest(one) for one in code if foreign(one)}


def title(code: Code) -> str:
    """Return the dotted path of a class or a function, for messages."""
    name = getattr(code, "__qualname__", type(code).__name__)
    return f"{getattr(code, '__module__', None) or '?'}.{name}"


def _code(value: Any) -> tuple[Code, ...]:
    """List the classes and functions in an argument."""
    if isinstance(value, partial):
        return (*_code(value.func), *_code(value.args), *_code(value.keywords))
    if isinstance(value, Mapping):
        return tuple(one for item in value.values() for one in _code(item))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(one for item in value for one in _code(item))
    if not isinstance(value, type) and hasattr(value, "fingerprint"):
        return tuple(getattr(value, "computed_by", ()))
    return (value,) if callable(value) else ()


def _plain(value: Any, name: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Integral | Real):  # of NumPy
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, Configured):
        return value.settings
    if isinstance(value, partial):
        arguments = {"args": list(value.args), **value.keywords}
        return {"function": _plain(value.func, name), **_plain(arguments, name)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item, name) for item in value]
    if not isinstance(value, type) and hasattr(value, "fingerprint"):
        return value.fingerprint
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    raise TypeError(f"{name} is a {type(value).__name__}: settings are plain data or Configured")
