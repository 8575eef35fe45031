"""Fixtures that pay once for what every test needs."""

import gc
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from _pytest.python import Function
from hydra.core.global_hydra import GlobalHydra

from medrobust.evaluation import gradient_cosine
from tests.support.compositions import compositions_remembered

ALL_DIRECTIONS = gradient_cosine.DIRECTIONS


def pytest_collection_finish() -> None:
    """Thousands of tests, and torch, live as long as the session: no collection looks at them.

    Configs are many small objects: a tenth of the time of composing went into young collections.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def pytest_sessionfinish() -> None:
    """Libraries that look for leaks at the end of the process find none."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file's tests in one process: what they share is made once, not in every process."""
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "tests/faults" if file.startswith("tests/faults/") else file  # one zygote

    return Files(config, log) if config.getvalue("dist") == "load" else None


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Mark the cases of a parametrised test as slow that its `by_default` does not name."""
    found = yield
    cases = [item for item in found or () if isinstance(item, Function)]
    if cases and (mark := cases[0].get_closest_marker("by_default")):
        ids = {item.callspec.id: item for item in cases}
        if unknown := set(mark.args) - set(ids):
            raise pytest.UsageError(
                f"{cases[0].originalname}: by_default names {sorted(unknown)}, "
                f"expected some of {sorted(ids)}"
            )
        for name, item in ids.items():
            if name not in mark.args:
                item.add_marker(pytest.mark.slow)
    return found


@pytest.fixture(autouse=True)
def tracer_kept() -> Iterator[None]:
    """Restore the tracer that measures coverage; pyautoattack switches it off."""
    tracer = sys.gettrace()
    yield
    if sys.gettrace() is not tracer:
        sys.settrace(tracer)


@pytest.fixture(autouse=True)
def no_hydra_left() -> Iterator[None]:
    """A command that a test ran in this process leaves no Hydra initialised for the next one."""
    before = GlobalHydra.instance().is_initialized()
    yield
    if not before:
        GlobalHydra.instance().clear()


@pytest.fixture(scope="session", autouse=True)
def few_directions() -> Iterator[None]:
    """The check of an attacker's gradient costs little, where a test is about something else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient_cosine, "DIRECTIONS", 4)
        yield


@pytest.fixture
def all_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as outside the tests, for tests of that check."""
    monkeypatch.setattr(gradient_cosine, "DIRECTIONS", ALL_DIRECTIONS)


@pytest.fixture(scope="session", autouse=True)
def compositions() -> Iterator[None]:
    """Remember Hydra's compositions for the session; each test gets copies."""
    with compositions_remembered():
        yield
