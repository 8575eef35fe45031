"""The digest of what a class or a function computes.

A class is its own module and the modules of the classes that it inherits from. For code outside
this package the modules that it imports count, too: local ones at any depth, and those of this
package. Neither the name of a module nor its place on disk does.
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
    """Code was edited, and loaded, while a number was being computed from it."""


def check_unchanged(before: str, code: Sequence[type | Callable[..., Any]], module: str) -> None:
    """Raise if code is not what it was when a computation began.

    Args:
        before: `reach_digest(code, module)` of then.
        code: classes and functions.
        module: dotted path of a further module to start from.

    Raises:
        CodeChangedError: a module was edited before it was first loaded, in between.
    """
    if before != reach_digest(code, module):
        raise CodeChangedError(
            "code was edited before this cell loaded it, expected it to stay as it was when the "
            "cell began; run the command again"
        )


_MECHANISM = f"{PACKAGE}.configured"
"""The module of the base class that captures arguments, which computes nothing."""

_ROUNDS = 12
"""Depth to which imports tell modules of equal text apart."""


def code_digest(thing: type | Callable[..., Any]) -> str | None:
    """Return the SHA-256 of what a class or a function computes, 64 hex digits.

    Args:
        thing: a class, or a function of a module.

    Returns:
        None when it cannot be known: code without source (a notebook, compiled code), or what was
        made at run time (a lambda, a class or function inside a function, a replaced name).
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
    """Return the digest of a module with what it imports; None where that has no source."""
    source = find(name)
    return None if source is None else _linked(source)


def foreign(thing: type | Callable[..., Any]) -> bool:
    """Tell whether a class or a function is not this package's."""
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
    """Tell whether a base class is part of what a class computes: not those of libraries."""
    if base.__module__ == _MECHANISM:
        return False
    same = base.__module__.partition(".")[0] == kind.__module__.partition(".")[0]
    return same or owner(base.__module__) != "library"


def _is_defined(thing: Any, word: str) -> bool:
    """Tell whether a class or function is what its module's text defines by its name, once."""
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
    """Yield the functions of a class that another module, which is no library, put there."""
    for value in vars(kind).values():
        inner = getattr(value, "fget", None) or getattr(value, "__func__", None) or value
        module = getattr(inner, "__module__", None)
        elsewhere = isinstance(inner, FunctionType) and module not in (None, kind.__module__)
        if elsewhere and owner(str(module)) != "library":
            yield inner


def _linked(source: Source) -> str | None:
    """Return the digest of a module, with what it imports if it is not ours; None: no source."""
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
    """List the packages that a module lies in, whose code runs before it."""
    parts = source.name.split(".")[:-1]
    names = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return [found for name in names if (found := find(name)) is not None]


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
        for name in {name for entry in form_of(here).imports for name in entry.modules()}:
            if name not in found and near(name) and (target := find(name)) is not None:
                waiting.append(target)
    return list(found.values())


def linked_digest(sources: list[Source]) -> str:
    """Return the digest of modules and of what they import from each other, without their names."""
    return digest(sorted(_labels(sources).values()))


def _labels(sources: list[Source]) -> dict[str, str]:
    """Label modules by their text and by the labels of what they import, round after round.

    As in the colour refinement of graphs: no name of a module is in a label, and two modules of
    equal text are told apart by what they import.
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
    """Return a module's canonical form, in which only libraries are named by their path."""
    return _form(source.text, source.package)


@cache
def _form(text: str, package: str) -> Form:
    return canonical(text, package, _shown)


def _shown(module: str) -> str:
    kind = owner(module)
    return PACKAGE if kind == "package" else "" if kind == "local" else module
