"""Kinds of figures, and the parser of a config's `figure` node."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from medrobust.report import figure as package
from medrobust.report.figure.core.base import Figure, FigureError


@cache
def kinds() -> tuple[str, ...]:
    """Return the names of the kinds of figures, which are the modules of the package."""
    modules = pkgutil.iter_modules(package.__path__)
    return tuple(sorted(module.name for module in modules if not module.ispkg))


def parse(node: Any) -> tuple[Figure, ...]:
    """Read the `figure` node: null, one figure, or a list of them.

    Args:
        node: plain data; each figure is a mapping with `kind` and that kind's keys.

    Raises:
        FigureError: a kind or key is unknown, or the kind refuses a value.
    """
    if node is None:
        return ()
    nodes = [node] if isinstance(node, Mapping) else node
    if isinstance(nodes, str) or not isinstance(nodes, Sequence):
        raise FigureError(f"figure is {node!r}, expected null, a mapping with `kind`, or a list")
    made: list[Figure] = []
    for number, item in enumerate(nodes):
        where = "figure" if isinstance(node, Mapping) else f"figure[{number}]"
        if not isinstance(item, Mapping) or item.get("kind") not in kinds():
            raise FigureError(f"{where} is {item!r}; its `kind` is one of {', '.join(kinds())}")
        kind = str(item["kind"])
        module = importlib.import_module(f"{package.__name__}.{kind}")
        rest = {str(key): value for key, value in item.items() if key != "kind"}
        figure = module.KIND.parse(rest, where)
        made.append(figure if figure.name else replace(figure, name=kind))
    return tuple(made)
