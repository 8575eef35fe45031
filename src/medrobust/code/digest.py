"""Digests of the code of classes and functions.

The digest of a class covers its module and the modules of its base classes. For code outside this
package it also covers imported modules: local ones at any depth, and those of this package. Names
and paths of modules do not matter.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import FunctionType
from typing import Any

from medrobust.code.canonical import Form, canonical
from medrobust.code.module import PACKAGE, Source, find, hidden, note, owner
from medrobust.fingerprint import digest


class CodeChangedError(RuntimeError):
    """Raised when code was edited and loaded during a computation that uses it."""


def check_unchanged(before: str, code: Sequence[type | Callable[..., Any]], module: str) -> None:
    """Raise if code changed since a computation began.

    Args:
        before: `reach_digest(code, module)` at the beginning.
        code: classes and functions.
        module: dotted path of a further module to start from.

    Raises:
        CodeChangedError: a module was edited in between, before it was first loaded.
    """
    if before != reach_digest(code, module):
        raise CodeChangedError(
            "code was edited before this cell loaded it, expected it to stay as it was when the "
            "cell began; run the command again"
        )


_MECHANISM = f"{PACKAGE}.configured"
"""Module of the base class that captures arguments; it computes nothing."""

_ROUNDS = 12
"""Depth of imports up to which modules of equal text are distinguished."""


def code_digest(thing: type | Callable[..., Any]) -> str | None:
    """Return the SHA-256 of the code of a class or function.

    Args:
        thing: a class, or a function of a module.

    Returns:
        64 hex digits; None for code without source (a notebook, compiled code) or made at run time
        (a lambda, a class or function inside a function, a replaced name).
    """
    if isinstance(thing, type):
        return _of_class(thing)
    if not isinstance(thing, FunctionType):
        return None
    source = note(thing.__module__)
    decorated = hasattr(thing, "__wrapped__")
    if source is None or (thing.__closure__ and not decorated) or not _is_defined(thing, "def"):
        return None
    linked = _linked(source)
    return None if linked is None else digest([thing.__qualname__, linked])


def module_digest(name: str) -> str | None:
    """Return the digest of a module and its imports; None if one has no source."""
    source = find(name)
    return None if source is None else _linked(source)


def foreign(thing: type | Callable[..., Any]) -> bool:
    """Return whether a class or function is defined outside this package."""
    return owner(getattr(thing, "__module__", None) or "") != "package"


def _of_class(kind: type) -> str | None:
    parts: list[Any] = []
    for base in kind.__mro__:
        if base is not kind and not _counts(base, kind):
            continue
        source = note(base.__module__)
        if source is None or not _is_defined(base, "class"):
            return None
        found = [_linked(source), *(code_digest(patch) for patch in _patches(base))]
        if None in found:
            return None
        parts.append(found)
    return digest([kind.__qualname__, *parts])


def _counts(base: type, kind: type) -> bool:
    """Return whether the code of a base class counts; classes of libraries do not."""
    if base.__module__ == _MECHANISM:
        return False
    same = base.__module__.partition(".")[0] == kind.__module__.partition(".")[0]
    return same or owner(base.__module__) != "library"


def _is_defined(thing: Any, word: str) -> bool:
    """Return whether a class or function is the only definition of its name in its module."""
    found: Any = sys.modules.get(thing.__module__)
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)  # None at `<locals>`
    source = note(thing.__module__)
    if found is not thing or source is None:
        return False
    indent = "[ \\t]+" if "." in thing.__qualname__ else ""
    pattern = rf"^{indent}(?:async )?{word} {re.escape(thing.__name__)}\b"
    return len(re.findall(pattern, source.text, re.M)) == 1


def _patches(kind: type) -> Iterator[FunctionType]:
    """Yield the functions of a class that another module of the user set on it."""
    for value in vars(kind).values():
        inner = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
        module = getattr(inner, "__module__", None)
        elsewhere = isinstance(inner, FunctionType) and module not in (None, kind.__module__)
        if elsewhere and owner(str(module)) != "library":
            yield inner


def _linked(source: Source) -> str | None:
    """Return the digest of a module, with its imports if it is foreign; None without source."""
    top = source.name.partition(".")[0]
    if top == PACKAGE:
        return form_of(source).digest

    def near(name: str) -> bool:
        return name.partition(".")[0] == top or owner(name) == "local"

    inside = _reached([source, *_parents(source)], near)
    names = {name for one in inside for entry in form_of(one).imports for name in entry.modules()}
    if any(near(name) and hidden(name) for name in names):
        return None
    ours = [found for name in names if owner(name) == "package" and (found := find(name))]
    labels = _labels([*inside, *({one.name: one for one in ours}.values())])
    return digest([labels[source.name], sorted(labels.values())])


def _parents(source: Source) -> list[Source]:
    """List the parent packages of a module, whose code runs before it."""
    parts = source.name.split(".")[:-1]
    names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return [found for name in names if (found := find(name)) is not None]


def reach_digest(code: Sequence[type | Callable[..., Any]], *modules: str) -> str:
    """Return the digest of all code that classes and functions can reach by imports, at any depth.

    If it stays the same, only installed libraries and modules imported by a run-time name can
    change a result. Code without source is left out.

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
"""Modules -> the sources that they reach, valid until one is reloaded or rewritten."""


def _reached(sources: list[Source], near: Callable[[str], bool]) -> list[Source]:
    """Return modules and their imports at any depth, as far as these are near."""
    found: dict[str, Source] = {}
    waiting = list(sources)
    while waiting:
        here = waiting.pop()
        if here.name in found:
            continue
        found[here.name] = here
        for name in {name for entry in form_of(here).imports for name in entry.modules()}:
            if name not in found and near(name) and (target := find(name)) is not None:
                waiting.append(target)
    return list(found.values())


def linked_digest(sources: list[Source]) -> str:
    """Return the digest of modules and their mutual imports, independent of their names."""
    return digest(sorted(_labels(sources).values()))


def _labels(sources: list[Source]) -> dict[str, str]:
    """Label modules by their text and, round after round, by the labels of their imports.

    This is colour refinement of the import graph: labels contain no module names, and modules of
    equal text differ by their imports.
    """
    forms = {source.name: form_of(source) for source in sources}
    links = {
        name: [
            (entry, [target for target in entry.modules() if target in forms])
            for entry in form.imports
        ]
        for name, form in forms.items()
    }
    labels = {name: form.digest for name, form in forms.items()}
    for _ in range(min(len(forms), _ROUNDS)):
        labels = {
            name: digest(
                [
                    labels[name],
                    sorted(
                        [[labels[t] for t in targets], entry.name, entry.bound, entry.order]
                        for entry, targets in links[name]
                        if targets
                    ),
                ]
            )
            for name in forms
        }
    return labels


def form_of(source: Source) -> Form:
    """Return a module's canonical form, which contains the paths of libraries only."""
    return _form(source.text, source.package)


@cache
def _form(text: str, package: str) -> Form:
    return canonical(text, package, _shown)


def _shown(module: str) -> str:
    kind = owner(module)
    return PACKAGE if kind == "package" else "" if kind == "local" else module
