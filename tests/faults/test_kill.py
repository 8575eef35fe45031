"""kill -9 at seeded points over craft, write, row and table; then the same command again."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Whole
from tests.faults.injection import PHASES
from tests.faults.sweeps import MATRIX, Left, Zygote, left
from tests.support.kinds import slow_unless

ALL = 12  # points per phase
DEFAULT = {"row"}
"""Phases with a point by default. A set or a table is written as a row is, SIGTERM also ends a
sweep in a craft, and a moment that no hook chose is nearly always one of these."""


def points(phase: str) -> list[object]:
    return [
        slow_unless(phase in DEFAULT and number == 0, number, id=f"{phase}-{number}")
        for number in range(ALL)
    ]


def go_on(zygote: Zygote, outputs: Path, whole: Whole) -> None:
    """What is there is right; the next run ends as the uninterrupted one and keeps it."""
    before: Left = left(outputs)
    for row_id, row in before.rows.items():
        assert row == whole.left.rows[row_id]
    for key, tensors in before.tensors.items():
        assert tensors == whole.left.tensors[key]
    assert zygote.run(outputs, *MATRIX) == 0, (outputs / "log").read_text()
    after = left(outputs)
    assert after.rows == whole.left.rows
    assert after.tensors == whole.left.tensors
    for row_id, written in before.written.items():
        assert after.written[row_id] == written, "a finished row was done again"


def kill_in(phase: str, number: int, zygote: Zygote, outputs: Path, whole: Whole) -> None:
    """At a seeded event of the phase; a file that is being written stays torn at a seeded byte."""
    choose = random.Random(f"{phase} {number}")
    places = [i for i, (name, _) in enumerate(whole.events) if name in PHASES[phase]]
    assert len(places) > 5
    place = choose.choice(places)
    status = zygote.run(outputs, *MATRIX, kill_at=place, share=choose.random())
    assert status == -signal.SIGKILL, (outputs / "log").read_text()
    (outputs / "journal").unlink()
    go_on(zygote, outputs, whole)


@pytest.mark.parametrize("number", points("craft"))
def test_in_craft(number: int, zygote: Zygote, outputs: Path, whole: Whole) -> None:
    kill_in("craft", number, zygote, outputs, whole)


@pytest.mark.parametrize("number", points("write"))
def test_in_a_write(number: int, zygote: Zygote, outputs: Path, whole: Whole) -> None:
    kill_in("write", number, zygote, outputs, whole)


@pytest.mark.parametrize("number", points("row"))
def test_at_a_row(number: int, zygote: Zygote, outputs: Path, whole: Whole) -> None:
    kill_in("row", number, zygote, outputs, whole)


@pytest.mark.parametrize("number", points("table"))
def test_at_the_table(number: int, zygote: Zygote, outputs: Path, whole: Whole) -> None:
    kill_in("table", number, zygote, outputs, whole)


@pytest.mark.parametrize("number", points("time"))
def test_at_any_time(number: int, zygote: Zygote, outputs: Path, whole: Whole) -> None:
    """At a moment that no hook chose: a seeded share of the uninterrupted sweep's time."""
    moment = random.Random(number).random() * whole.seconds
    pid = zygote.start(outputs, *MATRIX)
    time.sleep(moment)
    os.kill(pid, signal.SIGKILL)
    assert zygote.wait(pid) in (-signal.SIGKILL, 0)
    go_on(zygote, outputs, whole)
