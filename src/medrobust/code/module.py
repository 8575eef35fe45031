"""Source and owner of a module."""

import importlib.util
import site
import sys
import sysconfig
import tokenize
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Literal, NamedTuple

PACKAGE = "medrobust"

Owner = Literal["package", "local", "library"]


class Source(NamedTuple):
    """Source of one module.

    Attributes:
        name: dotted path of the module.
        package: dotted path that its relative imports start from.
        text: source text.
    """

    name: str
    package: str
    text: str


_noted: dict[str, tuple[object, Source | None]] = {}
"""Module -> its spec (replaced by a reload) and the source that it runs."""


def note(name: str) -> Source | None:
    """Return the source that a loaded module runs, as its file was at the first call.

    A later edit of the file has no effect until the module is reloaded, since the old code runs.

    Args:
        name: dotted path of a loaded module.

    Returns:
        The source; None for a notebook, an interactive session or compiled code.
    """
    module = sys.modules.get(name)
    if module is None:
        return None
    spec = getattr(module, "__spec__", None) or module
    known = _noted.get(name)
    if known is None or known[0] is not spec:
        known = _noted[name] = (spec, _read(module, name))
    return known[1]


def find(name: str) -> Source | None:
    """Return the source of a module without loading it.

    Args:
        name: dotted path.

    Returns:
        The source; None if the module or its source does not exist.
    """
    if name in sys.modules:
        return note(name)
    spec = _spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path, stat = Path(spec.origin), Path(spec.origin).stat()
    stamp = stat.st_mtime_ns, stat.st_size
    known = _unloaded.get(path)
    if known is None or known[0] != stamp:
        package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
        known = _unloaded[path] = (stamp, Source(name, package, _text(path)))
    return known[1]


_unloaded: dict[Path, tuple[tuple[int, int], Source]] = {}
"""File of an unloaded module -> its stamp and source."""


def hidden(name: str) -> bool:
    """Return whether a module exists without source: compiled code, or bytecode alone."""
    if find(name) is not None:
        return False
    spec = getattr(sys.modules.get(name), "__spec__", None) or _spec(name)
    return spec is not None and spec.origin is not None


def owner(name: str) -> Owner:
    """Return the owner of a module: this package, an installed library, or the user.

    Args:
        name: dotted path of the module; one that cannot be found counts as a library's.
    """
    if name == PACKAGE or name.startswith(f"{PACKAGE}."):
        return "package"
    known = _owners.get(name)
    return _owner(name) if known is None else known


_owners: dict[str, Owner] = {}
"""Module that was found -> its owner."""


def _owner(name: str) -> Owner:
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if module is None:
        spec = _spec(name)
        path = spec.origin if spec is not None else None
    if path is None or name in sys.builtin_module_names:
        # A notebook's classes are in `__main__`, which has no file.
        return "local" if name == "__main__" else "library"
    place = Path(path)
    installed = {"site-packages", "dist-packages"} & set(place.parts)
    found: Owner = "library" if installed or _within(place, _standard()) else "local"
    _owners[name] = found
    return found


def _read(module: ModuleType, name: str) -> Source | None:
    path = getattr(module, "__file__", None)
    if path is None:
        return None
    package = getattr(module, "__package__", None) or ""
    if path.endswith(".py"):
        try:
            return Source(name, package, _text(Path(path)))
        except OSError:
            pass  # inside an archive
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    if loader is None or not hasattr(loader, "get_source"):
        return None
    text = loader.get_source(name)
    return None if text is None else Source(name, package, text)


def _text(path: Path) -> str:
    with tokenize.open(path) as file:  # in the encoding that the file declares
        return file.read()


def _spec(name: str) -> ModuleSpec | None:
    """Find a module without importing its parents."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # `__main__` of a script has no spec
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{part}", list(spec.submodule_search_locations))
    return spec


@cache
def _standard() -> tuple[Path, ...]:
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple(Path(folder) for folder in [*folders, site.getusersitepackages()])


def _within(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
