"""Each launcher of one machine: results, lost jobs, GPUs, threads."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("joblib", reason="joblib is not installed: pip install 'medrobust[launchers]'")
pytest.importorskip(
    "submitit", reason="submitit is not installed: pip install 'medrobust[launchers]'"
)

Launch = Callable[..., subprocess.CompletedProcess[str]]
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
LOCAL = ("hydra/launcher=submitit_local", "hydra.launcher.array_parallelism=2")
BOTH = pytest.mark.parametrize("launcher", [JOBLIB, LOCAL], ids=["joblib", "submitit_local"])


def latest(app: Path) -> Path:
    return max((app / "out").iterdir(), key=lambda path: path.name)


def where(app: Path) -> list[dict[str, Any]]:
    files = sorted(latest(app).glob("*/where.json"))
    return [json.loads(path.read_text()) for path in files]


@pytest.mark.by_default("joblib")
@BOTH
def test_jobs_run_elsewhere_on_gpus_of_their_own_and_the_table_is_printed(
    app: Path, launch: Launch, launcher: tuple[str, ...]
) -> None:
    done = launch(*launcher, "attack=a,b,c,d", "together=2", CUDA_VISIBLE_DEVICES="3,5")
    assert done.returncode == 0, done.stderr
    assert "4 jobs: 4 rows done (0 were there before), 0 failed or missing" in done.stdout
    found = where(app)
    assert [item["num"] for item in found] == [0, 1, 2, 3]
    assert len({item["pid"] for item in found}) == (2 if launcher is JOBLIB else 4)
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert {item["threads"] for item in found} == {str(share)}
    assert (latest(app) / "table.md").exists()
    assert {item["gpu"] for item in found} == {"3", "5"}
    first = {item["gpu"] for item in found if item["num"] < 2}
    assert first == {"3", "5"}  # those two ran at once
    by_process = {item["pid"]: set[str]() for item in found}
    for item in found:
        by_process[item["pid"]].add(item["gpu"])
    assert all(len(gpus) == 1 for gpus in by_process.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [JOBLIB, pytest.param(LOCAL, marks=pytest.mark.slow)],  # submitit waits 15 s for a result
    ids=["joblib", "submitit_local"],
)
def test_a_killed_job_alone_is_lost_and_the_rerun_does_it(
    app: Path, launch: Launch, launcher: tuple[str, ...]
) -> None:
    command = (*launcher, "attack=a,b,c,d,e", "seconds=0.2")
    killed = launch(*command, "die=b")
    assert killed.returncode == 1, killed.stdout
    assert "5 jobs: 4 rows done" in killed.stdout
    assert "1 failed or missing" in killed.stdout
    assert "✗ job 1 (attack=b) was killed before its end" in killed.stderr
    assert "job 1 is lost" in killed.stdout
    written = {path: path.stat().st_mtime_ns for path in (app / "rows").iterdir()}
    again = launch(*command)
    assert again.returncode == 0, again.stderr
    assert "5 jobs: 5 rows done (4 were there before), 0 failed or missing" in again.stdout
    assert all(path.stat().st_mtime_ns == before for path, before in written.items())


@pytest.mark.slow
def test_a_worker_killed_once_costs_nothing(app: Path, launch: Launch) -> None:
    done = launch(*JOBLIB, "attack=a,b,c,d,e", "seconds=0.2", "die=b", "on='1'")
    assert done.returncode == 0, done.stderr
    assert "5 rows done" in done.stdout
    assert "a worker was killed" in done.stdout
    assert {path.read_text() for path in latest(app).glob("*/tries")} == {"1", "2"}


@pytest.mark.slow
@BOTH
def test_a_job_that_raises_is_missing_in_the_table(
    app: Path, launch: Launch, launcher: tuple[str, ...]
) -> None:
    done = launch(*launcher, "attack=a,b,c", "throw=b", OMP_NUM_THREADS="7")
    assert done.returncode == 1
    assert "job 1 is lost: OSError('no space left')" in done.stdout
    assert "3 jobs: 2 rows done" in done.stdout
    assert "Traceback" in (latest(app) / "1" / "app.log").read_text()
    assert {item["threads"] for item in where(app)} == {"7"}  # the user's own number wins


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@BOTH
def test_a_stopped_sweep_leaves_no_process(
    app: Path, launcher: tuple[str, ...], how: signal.Signals
) -> None:
    command = [sys.executable, "app.py", "-m", *launcher, "attack=a,b", "seconds=100"]
    environment = {**os.environ, "TMPDIR": str(app / "tmp")}
    with (app / "log").open("wb") as log:
        sweep = subprocess.Popen(
            command,
            cwd=app,
            env=environment,
            stdout=log,
            stderr=log,
            # A shell's background job ignores SIGINT, and so would all that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        deadline = time.monotonic() + 60
        # A file that is there may not be written yet.
        while len(pids := list(filter(None, map(Path.read_text, app.glob("out/*/*/pid"))))) < 2:
            assert sweep.poll() is None, (app / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        sweep.send_signal(how)
        assert sweep.wait(timeout=60) != 0
    deadline = time.monotonic() + 20
    while any(Path("/proc", pid).exists() for pid in pids):
        assert time.monotonic() < deadline, "a worker outlived its sweep"
        time.sleep(0.1)


@pytest.mark.slow
def test_out_of_time_is_a_lost_job(launch: Launch) -> None:
    limit = ("hydra.launcher.timeout_min=0.3", "hydra.launcher.signal_delay_s=3")
    done = launch(*LOCAL, *limit, "attack=a", "seconds=60")
    assert done.returncode == 1
    assert "timed-out too many times" in done.stdout


@pytest.mark.slow
def test_too_little_parallelism_is_told(launch: Launch) -> None:
    done = launch(*LOCAL, "attack=a", "hydra.launcher.array_parallelism=0")
    assert done.returncode != 0
    assert "hydra.launcher.array_parallelism=0, expected 1 or more" in done.stderr
