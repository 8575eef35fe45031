"""One process that forks the ones that are to die, and what an uninterrupted sweep leaves."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.sweeps import MATRIX, Left, Zygote, events, left


class Whole(NamedTuple):
    """The uninterrupted sweep: its folder, what it left, what happened in it, its time."""

    outputs: Path
    left: Left
    events: list[tuple[str, str]]
    seconds: float


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    server = Zygote(tmp_path_factory.mktemp("zygote"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def whole(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    outputs = tmp_path_factory.mktemp("whole")
    start = time.monotonic()
    assert zygote.run(outputs, *MATRIX) == 0, (outputs / "log").read_text()
    seconds = time.monotonic() - start
    found = left(outputs)
    assert len(found.rows) == 4
    return Whole(outputs, found, events(outputs), seconds)


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"
