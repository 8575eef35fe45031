"""Ended from outside: SIGTERM of a scheduler, a worker killed by the operating system."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from medrobust.cache.tensors import TensorCache
from medrobust.result.lock import locked, locked_now
from tests.faults.conftest import Whole
from tests.faults.sweeps import MATRIX, Zygote, left, until

EVALUATE = Path(__file__).resolve().parents[2] / "evaluate.py"


@pytest.mark.parametrize(
    ("event", "count"),
    [
        ("craft", 1),
        pytest.param("craft", 6, marks=pytest.mark.slow),
        pytest.param("renamed row", 1, marks=pytest.mark.slow),
    ],
)
def test_sigterm_stops_at_once_and_marks_nothing(
    event: str, count: int, zygote: Zygote, outputs: Path, whole: Whole
) -> None:
    pid = zygote.start(outputs, *MATRIX, gate=outputs / f"{event} {count}")  # which nobody opens
    until(outputs, event, count)
    start = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert zygote.wait(pid) == 128 + signal.SIGTERM
    assert time.monotonic() - start < 20
    assert "stopped by SIGTERM" in (outputs / "log").read_text()
    before = left(outputs)
    assert len(before.rows) < 4
    for row_id, row in before.rows.items():
        assert row == whole.left.rows[row_id]
    assert not list(outputs.rglob(".*.safetensors.*"))
    for path in outputs.rglob("*.lock"):
        with locked_now(path, path.name):  # raises when it is held
            pass
    assert zygote.run(outputs, *MATRIX) == 0
    after = left(outputs)
    assert after.rows == whole.left.rows
    for row_id, written in before.written.items():
        assert after.written[row_id] == written


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("joblib") is None, reason="needs joblib: pip install 'medrobust[launchers]'"
)
def test_a_worker_that_the_system_kills(zygote: Zygote, outputs: Path, whole: Whole) -> None:
    """As the kernel does when memory runs out: kill -9 one of joblib's workers, in a cell."""
    workers = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"paths.outputs={outputs}"]
    words = [*zygote.common, *MATRIX[1:], *workers]
    command = [sys.executable, str(EVALUATE), "-m", *words]
    outputs.mkdir()
    cache = TensorCache(outputs / "cache")
    with ExitStack() as gates:
        # While we hold what a cell needs, no worker gets past its first cell.
        for key in sorted({row["fingerprints"]["adversarial_set"] for row in rows_of(whole)}):
            gates.enter_context(locked(cache.lock_path(key), key))
        with (outputs / "log").open("w") as log:
            sweep = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 600
        # A row's lock is taken when its cell begins; it is signed by the worker that holds it.
        while not (found := list((outputs / "rows").glob(".locks/*.lock"))):
            assert sweep.poll() is None, (outputs / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.002)
        victim = worker_of(found[0], end)
        assert victim != sweep.pid
        os.kill(victim, signal.SIGKILL)
    status = sweep.wait(timeout=600)
    assert "a worker was killed" in (outputs / "log").read_text()
    before = left(outputs)
    assert (len(before.rows) == 4) == (status == 0)  # the launcher tries a lost cell once more
    for row_id, row in before.rows.items():
        assert row == whole.left.rows[row_id]
    assert zygote.run(outputs, *MATRIX) == 0
    after = left(outputs)
    assert after.rows == whole.left.rows
    for row_id, written in before.written.items():
        assert after.written[row_id] == written


def rows_of(whole: Whole) -> list[dict[str, Any]]:
    return list(whole.left.rows.values())


def worker_of(lock: Path, end: float) -> int:
    import json

    while time.monotonic() < end:
        text = lock.read_text()
        if text:
            return int(json.loads(text)["pid"])
        time.sleep(0.002)
    raise AssertionError("nobody signed the lock")
