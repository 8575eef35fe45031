"""A pytest plugin that measures margins: `MARGINS=FILE pytest -p tests.margins.plugin`."""

import ast
import json
import os
from pathlib import Path
from typing import Any

import pytest
from _pytest.assertion import rewrite as pytest_rewrite

from tests.margins.exempt import keeps_seed
from tests.margins.record import write
from tests.margins.rewrite import rewrite

TESTS = Path(__file__).parents[1]
HELPERS = [f"tests.support.{path.stem}" for path in (TESTS / "support").glob("*.py")]
pytest.register_assert_rewrite(*HELPERS)

# pytest has no hook for the value of a comparison inside an assertion (`pytest_assertion_pass`
# gives its text, where a tensor has four digits), so the tree is changed before pytest's own turn.
_original = pytest_rewrite.rewrite_asserts


def _both(tree: ast.Module, source: bytes, path: str | None = None, config: Any = None) -> None:
    if path and Path(path).is_relative_to(TESTS) and "margins" not in Path(path).parts:
        rewrite(tree, str(Path(path).relative_to(TESTS)))
    _original(tree, source, path, config)


pytest_rewrite.rewrite_asserts = _both
pytest_rewrite.PYC_TAIL = f".margins-{os.getpid()}" + pytest_rewrite.PYC_TAIL  # no cached module


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that `MARGINS_ONLY` lists, less those whose seeds must stay."""
    if listed := os.environ.get("MARGINS_ONLY"):
        wanted = set(Path(listed).read_text().splitlines())
        shifted = bool(int(os.environ.get("MARGINS_SEED", "0")))
        kept = [
            item
            for item in items
            if item.nodeid in wanted and not (shifted and keeps_seed(item.nodeid))
        ]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a failure, in the one process that hears of all."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        with Path(os.environ["MARGINS"]).open("a") as file:
            file.write(json.dumps({"test": report.nodeid, "failed": report.when}) + "\n")


def pytest_runtest_logfinish() -> None:
    """Write what the test measured."""
    write(Path(os.environ["MARGINS"]))
