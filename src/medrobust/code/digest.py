"""The digest of what a class or a function computes.

A class is its own module and the modules of the classes that it inherits from. For code outside
this package the local modules that it imports count, too, and theirs. Neither the name of a module
nor its place on disk does.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from types import FunctionType
from typing import Any

from medrobust.code.canonical import Form, Import, canonical
from medrobust.code.module import PACKAGE, Source, find, note, owner
from medrobust.fingerprint import digest

_MECHANISM = f"{PACKAGE}.settings"
"""The module of the base class that captures arguments, which computes nothing."""


def code_digest(thing: type | Callable[..., Any]) -> str | None:
    """Return the SHA-256 of what a class or a function computes, 64 hex digits.

    Args:
        thing: a class, or a function of a module.

    Returns:
        None when it cannot be known: code without source (a notebook, compiled code), a lambda, a
        function with values of its surroundings, a class that was made at run time.
    """
    if isinstance(thing, type):
        return _of_class(thing)
    if not isinstance(thing, FunctionType) or thing.__closure__ or thing.__name__ == "<lambda>":
        return None
    source = note(thing.__module__)
    if source is None or not _defines(source, "def", thing.__name__):
        return None
    return digest([thing.__qualname__, _linked(source)])


def foreign(thing: type | Callable[..., Any]) -> bool:
    """Tell whether a class or a function is not this package's."""
    return owner(getattr(thing, "__module__", None) or "") != "package"


def _of_class(kind: type) -> str | None:
    parts = []
    for base in kind.__mro__:
        if base is not kind and not _counts(base, kind):
            continue
        source = note(base.__module__)
        if source is None or not _defines(source, "class", base.__name__) or _encloses(base):
            return None
        parts.append(_linked(source))
    return digest([kind.__qualname__, *parts])


def _counts(base: type, kind: type) -> bool:
    """Tell whether a base class is part of what a class computes: not those of libraries."""
    if base.__module__ == _MECHANISM:
        return False
    same = base.__module__.partition(".")[0] == kind.__module__.partition(".")[0]
    return same or owner(base.__module__) != "library"


def _defines(source: Source, word: str, name: str) -> bool:
    return re.search(rf"^[ \t]*(async )?{word} {re.escape(name)}\b", source.text, re.M) is not None


def _encloses(kind: type) -> bool:
    """Tell whether a class inside a function uses values of that function."""
    if "<locals>" not in kind.__qualname__:
        return False
    functions = (value for value in vars(kind).values() if isinstance(value, FunctionType))
    return any(set(made.__code__.co_freevars) - {"__class__"} for made in functions)


def _linked(source: Source) -> str:
    """Return the digest of a module, with the local ones that it imports if it is not ours."""
    top = source.name.partition(".")[0]
    if top == PACKAGE:
        return form_of(source).digest
    near = _reached([source], lambda name: name.partition(".")[0] == top or owner(name) == "local")
    return linked_digest(near)


def reach_digest(code: Sequence[type | Callable[..., Any]], *modules: str) -> str:
    """Return the digest of all code that classes and functions can reach by imports, at any depth.

    Nothing that they compute can change while it stays the same, unless an installed library does,
    or a module that is imported by a name made at run time. Code that has no source is left out.

    Args:
        code: classes and functions.
        modules: dotted paths of further modules to start from.
    """
    owners = (getattr(one, "__module__", None) or "" for one in code)
    names = tuple(dict.fromkeys((*owners, *modules)))
    known = _reaches.get(names)
    if known is not None and all(find(source.name) is source for source in known[0]):
        return known[1]
    sources = [source for name in names if owner(name) != "library" and (source := find(name))]
    found = _reached(sources, lambda name: owner(name) != "library")
    _reaches[names] = found, linked_digest(found)
    return _reaches[names][1]


_reaches: dict[tuple[str, ...], tuple[list[Source], str]] = {}
"""Modules -> the sources that they reach, valid while none is loaded again or written anew."""


def _reached(sources: list[Source], near: Callable[[str], bool]) -> list[Source]:
    """Return modules and those that they import, at any depth, as far as these are near."""
    found: dict[str, Source] = {}
    waiting = list(sources)
    while waiting:
        here = waiting.pop()
        if here.name in found:
            continue
        found[here.name] = here
        for name in {name for entry in form_of(here).imports for name in _names(entry)}:
            if name not in found and near(name) and (target := find(name)) is not None:
                waiting.append(target)
    return list(found.values())


def linked_digest(sources: list[Source]) -> str:
    """Return the digest of modules and of what they import from each other, without their names."""
    forms = {source.name: form_of(source) for source in sources}
    lines = []
    for form in forms.values():
        links = [
            [forms[name].digest, entry.name, entry.bound]
            for entry in form.imports
            for name in _names(entry)
            if name in forms
        ]
        lines.append([form.digest, sorted(links)])
    return digest(sorted(lines))


def form_of(source: Source) -> Form:
    """Return a module's canonical form, in which only libraries are named by their path."""
    return _form(source.text, source.package)


@cache
def _form(text: str, package: str) -> Form:
    return canonical(text, package, _shown)


def _shown(module: str) -> str:
    kind = owner(module)
    return PACKAGE if kind == "package" else "" if kind == "local" else module


def _names(entry: Import) -> list[str]:
    """List the modules that an import reads: the module, and what it takes if that is one."""
    return [entry.module, f"{entry.module}.{entry.name}"] if entry.name else [entry.module]
