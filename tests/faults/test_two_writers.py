"""Two sweeps on the same folder at once: no cell twice, no torn file, the numbers of one alone."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import Whole
from tests.faults.sweeps import MATRIX, Zygote, events, left, until


def made(outputs: Path) -> Counter[str]:
    """How often each file of the cache and each row was put in place."""
    return Counter(
        detail for name, detail in events(outputs) if name in ("renamed cache", "renamed row")
    )


def test_they_share_the_work(zygote: Zygote, outputs: Path, whole: Whole) -> None:
    first = zygote.start(outputs, *MATRIX, slow=0.1)
    second = zygote.start(outputs, *MATRIX, slow=0.1)
    assert (zygote.wait(first), zygote.wait(second)) == (0, 0), (outputs / "log").read_text()
    times = made(outputs)
    assert set(times.values()) == {1}, times
    assert len([name for name in times if name.endswith(".json")]) == 4
    found = left(outputs)
    assert found.rows == whole.left.rows
    assert found.tensors == whole.left.tensors
    # A job apiece was marked in each sweep's own folder: 4 done and 4 skipped.
    marks = [path.read_text() for path in outputs.rglob("cell.json")]
    assert Counter("skipped" in mark for mark in marks) == {False: 4, True: 4}


@pytest.mark.slow
def test_the_second_says_whom_it_waits_for(zygote: Zygote, outputs: Path) -> None:
    cell = ["attack=pgd", "attack.steps=2", "batch_size=6"]
    gate = outputs / "craft 1"
    first = zygote.start(outputs, *cell, gate=gate)
    until(outputs, "craft")
    second = zygote.start(outputs, *cell)
    said = f"waiting for process {first} on"
    end = time.monotonic() + 60
    while said not in (outputs / "log").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    gate.touch()
    assert (zygote.wait(first), zygote.wait(second)) == (0, 0)
    log = (outputs / "log").read_text()
    assert f"waiting for process {first} on {os.uname().nodename}, which holds it since" in log
    assert set(made(outputs).values()) == {1}


@pytest.mark.slow
def test_a_dead_holder_holds_nothing(zygote: Zygote, outputs: Path, whole: Whole) -> None:
    """The first is killed in the middle of a cell; the second, which waits for it, does it."""
    first = zygote.start(outputs, *MATRIX, gate=outputs / "craft 1")  # which nobody opens
    until(outputs, "craft")
    second = zygote.start(outputs, *MATRIX)
    until(outputs, "write table", 2)  # the second's plan: it is on its way to the same cell
    os.kill(first, signal.SIGKILL)
    assert zygote.wait(first) == -signal.SIGKILL
    assert zygote.wait(second) == 0, (outputs / "log").read_text()
    assert left(outputs).rows == whole.left.rows
