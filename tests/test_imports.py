"""The package's imports run down only, and never in a circle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src"
ORDER = (
    *(
        "cli",
        "planning",
        "report",
        "evaluation",
        "training",
        "objective",
        "attack",
        "threat",
        "defense",
    ),
    *("model", "data", "metric", "cache", "logger", "launcher", "result", "box", "code"),
)
"""Packages, each above those whose code it may import."""

BELOW_NONE = {
    "resolvers": {"model"},  # names of layers
    "prediction": {"box"},  # what a detector of boxes answers
    "configured": {"code"},  # digests of classes
    "checkpoint": {"result"},  # writing whole or not at all
    "keys": {"report"},  # checks what a table is asked for
    "__main__": {"cli"},
}
"""Modules beside the packages, and the packages that they import; all others import none."""


def modules() -> dict[str, Path]:
    found = {}
    for path in (ROOT / "medrobust").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports, anywhere in it, for types alone too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


EDGES = {
    name: {other for other in imported(path) if other in MODULES and other != name}
    for name, path in MODULES.items()
}


def group(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_imports_run_down_only() -> None:
    packages = {path.parent.name for path in (ROOT / "medrobust").glob("*/__init__.py")}
    assert packages == set(ORDER)
    upward = [
        f"{name} imports {other}"
        for name, others in EDGES.items()
        for other in others
        if group(name) in ORDER
        and group(other) in ORDER
        and ORDER.index(group(name)) > ORDER.index(group(other))
    ]
    assert not upward


def test_modules_beside_the_packages_import_hardly_any() -> None:
    for name, others in EDGES.items():
        if group(name) and group(name) not in ORDER:
            used = {group(other) for other in others} & set(ORDER)
            assert used <= BELOW_NONE.get(group(name), set()), name


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(EDGES).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))
