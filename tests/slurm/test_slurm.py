"""A sweep on a real Slurm cluster: cancelled, preempted, resumed."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "submitit", reason="submitit is not installed: pip install 'medrobust[launchers]'"
)
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]  # one cluster

REPOSITORY = Path(__file__).parents[2]
SWEEP = [
    "hydra/launcher=submitit_slurm",
    "hydra.launcher.array_parallelism=1",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.timeout_min=10",
    "trainer=cpu",
    "data=dermamnist",
    "data.phantom=true",
    "data.phantom_n=140",
    "model=resnet18",
    "logger=none",
    "attack=external",
    "attack.call=gate.held",
    "attack.eps=null",
    "~attack.arguments",
]


class Sweep:
    """evaluate.py -m through Slurm, in a process of its own; see `gate.py`.

    Args:
        environment: that finds the cluster.
        root: of data, victims and rows.
        gates: folder of the gates.
        numbers: one job for each gate.
        words: further overrides.
    """

    def __init__(
        self, environment: dict[str, str], root: Path, gates: Path, numbers: str, *words: str
    ) -> None:
        path = [str(Path(__file__).parent), *filter(None, [environment.get("PYTHONPATH")])]
        self.environment = {**environment, "PYTHONPATH": os.pathsep.join(path)}
        self.root, self.gates = root, gates
        self.log = root / f"{time.time_ns()}.log"
        held = [f"+attack.arguments.gates={gates}", f"+attack.arguments.number={numbers}"]
        command = [sys.executable, str(REPOSITORY / "evaluate.py"), "-m"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, f"paths.root={root}", *SWEEP, *held, *words],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def end(self) -> tuple[int, str]:
        """Exit status and what was printed."""
        return self.process.wait(timeout=600), self.log.read_text()

    def ask(self, *command: str) -> str:
        """What a Slurm program prints."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def submitted(self) -> str:
        """Number of the job or job array."""
        return self.until(lambda: re.search(r"to Slurm: (\d+)", self.log.read_text()))[1]

    def states(self) -> dict[str, str]:
        """State of each job of the cluster, by its id."""
        listed = self.ask("squeue", "--me", "--states=all", "--array", "-h", "--format=%i|%T")
        return dict(line.split("|") for line in listed.split())

    def open(self, *numbers: int) -> None:
        """Let cells through."""
        for number in numbers:
            (self.gates / f"open {number}").touch()

    def held(self, number: int, times: int = 1) -> None:
        """Wait until a cell stands at its gate, for the so-manieth time."""
        self.until(lambda: len(list(self.gates.glob(f"arrived {number} *"))) >= times)

    def restarts(self, job: str) -> int:
        """How often Slurm queued a job again."""
        return int(re.findall(r"Restarts=(\d+)", self.ask("scontrol", "show", "job", job))[0])

    def queued_again(self, job: str, times: int) -> None:
        """Wait until Slurm has queued a job again, and spare us the two minutes that it waits."""
        self.until(lambda: self.restarts(job) == times and self.states()[job] == "PENDING")
        self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")

    def until(self, found: Callable[[], Any], seconds: float = 300) -> Any:
        """Wait for something true, and return it; the sweep must not end meanwhile."""
        deadline = time.monotonic() + seconds
        while not (value := found()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"waited too long\n{self.log.read_text()}"
            time.sleep(0.1)
        return value

    def folder(self) -> Path:
        """Of the latest sweep."""
        return max((self.root / "outputs/sweeps").iterdir(), key=lambda path: path.name)

    def statuses(self) -> list[str | None]:
        """What each of three jobs of the latest sweep noted."""
        marks = [self.folder() / str(number) / "cell.json" for number in range(3)]
        return [json.loads(m.read_text())["status"] if m.exists() else None for m in marks]


def written(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (root / "outputs/rows").glob("[!.]*.json")}


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    """A folder for the gates at which cells wait, so that none ends before it is stopped."""
    return tmp_path


def test_a_cancelled_job_is_missing_and_the_same_command_does_it(
    slurm: dict[str, str], root: Path, gates: Path
) -> None:
    sweep = Sweep(slurm, root, gates, "1,2,3")
    sweep.open(1, 3)
    array = sweep.submitted()
    sweep.held(2)
    print("scancel", f"{array}_1", sweep.states(), sweep.ask("scancel", f"{array}_1"))
    status, printed = sweep.end()
    print(printed, sweep.states())
    assert status == 1
    assert sweep.states()[f"{array}_1"] == "CANCELLED"
    assert "job 1 is lost" in printed
    assert "3 jobs: 2 rows done (0 were there before), 1 failed or missing" in printed
    assert "✗ job 1 (+attack.arguments.number=2) was killed before its end" in printed
    assert sweep.statuses() == ["done", None, "done"]
    first = written(root)
    assert len(first) == 2

    again = Sweep(slurm, root, gates, "1,2,3")
    again.open(2)
    status, printed = again.end()
    print(printed, again.states())
    assert status == 0
    assert again.statuses() == ["skipped", "done", "skipped"]
    assert len(written(root)) == 3
    assert first.items() <= written(root).items()


def test_stopped_and_preempted_a_job_is_queued_again(
    slurm: dict[str, str], root: Path, gates: Path
) -> None:
    sweep = Sweep(slurm, root, gates, "4", "hydra.launcher.partition=main")
    job = sweep.submitted()
    sweep.held(4)
    sweep.ask("scancel", "--signal=USR2", job)  # as Slurm does before the time limit
    sweep.queued_again(job, 1)
    print("told to stop:", sweep.states())
    sweep.held(4, times=2)
    everything = ["--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"]
    sweep.ask("sbatch", *everything)  # takes the node from it
    sweep.queued_again(job, 2)
    print("preempted:", sweep.states())
    sweep.open(4)
    status, printed = sweep.end()
    print(printed, sweep.states())
    assert status == 0
    assert "1 jobs: 1 rows done (0 were there before)" in printed
