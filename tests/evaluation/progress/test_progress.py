"""What a person at a terminal sees of a cell and of a sweep, and what a log file does not."""

import io
import json
import os
import sys
import threading
from pathlib import Path

import pytest
import torch
from hydra.types import RunMode
from omegaconf import OmegaConf

from medrobust.defense.none import NoDefense
from medrobust.evaluation.progress.countdown import CountdownCallback, State, state
from medrobust.evaluation.progress.progress import bar
from medrobust.threat.oblivious import Oblivious
from tests.support.helpers import small_cnn


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def look(monkeypatch: pytest.MonkeyPatch, screen: io.StringIO) -> io.StringIO:
    """From here on this is stderr; in a fixture, pytest's capture would take its place."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_the_bar_counts_images_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = look(monkeypatch, Terminal())
    surrogate = Oblivious()(small_cnn(), NoDefense())
    with bar("craft", 40, watch=surrogate) as advance:
        for _ in range(7):
            surrogate(torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))
        advance(13)
    shown = terminal.getvalue()
    assert "13/40" in shown
    assert "7 passes" in shown
    assert not surrogate.victim._forward_hooks


def test_no_bar_in_a_log_file(monkeypatch: pytest.MonkeyPatch) -> None:
    log = look(monkeypatch, io.StringIO())
    victim = small_cnn()
    before = threading.active_count()
    with bar("craft", 40, watch=victim) as advance:
        assert threading.active_count() == before
        assert not victim._forward_hooks
        advance(40)
    assert log.getvalue() == ""


def sweep(folder: Path, statuses: list[str], jobs: int | None, began: float) -> Path:
    plan = {"table": {}, "jobs": None if jobs is None else [["a=b"]] * jobs, "command": ""}
    (folder / "sweep.json").write_text(json.dumps(plan))
    os.utime(folder / "sweep.json", (began, began))
    for number, status in enumerate(statuses):
        (folder / str(number)).mkdir()
        mark = {"row": str(number), "status": status, "rows": ""}
        (folder / str(number) / "cell.json").write_text(json.dumps(mark))
    return folder


def test_the_line_of_a_sweep(tmp_path: Path) -> None:
    statuses = ["skipped", "skipped", "done", "failed", "done"]
    found = state(sweep(tmp_path, statuses, 25, began=1000.0), now=1090.0)
    assert found == State(total=25, done=4, skipped=2, failed=1, seconds=90.0)
    assert found.left == pytest.approx(90 / 3 * 20)  # skipped cells cost nothing
    assert found.line() == (
        "sweep: 4 of 25 cells done (2 from before), 1 failed, 20 left, about 10 min"
    )


def test_the_line_without_a_plan_or_anything_computed(tmp_path: Path) -> None:
    found = state(sweep(tmp_path, ["skipped"], None, began=1000.0), now=1001.0)
    assert found.line() == "sweep: 1 cells done (1 from before)"
    assert State(3, 1, 1, 0, 5.0).line() == "sweep: 1 of 3 cells done (1 from before), 2 left"
    assert State(3, 3, 0, 0, 5.0).line() == "sweep: 3 of 3 cells done, 0 left"


@pytest.mark.parametrize(
    ("mode", "screen", "shown"),
    [
        (RunMode.MULTIRUN, Terminal, "sweep: 1 of 2 cells done, 1 left"),
        (RunMode.MULTIRUN, io.StringIO, ""),
        (RunMode.RUN, Terminal, ""),
    ],
)
def test_the_line_is_for_sweeps_on_a_terminal(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: RunMode,
    screen: type[io.StringIO],
    shown: str,
) -> None:
    folder = sweep(tmp_path, ["done"], 2, began=0.0)
    node = OmegaConf.create({"hydra": {"mode": mode, "sweep": {"dir": str(folder)}}})
    seen = look(monkeypatch, screen())
    CountdownCallback().on_job_end(node, None)
    assert seen.getvalue().partition(", about")[0] == shown
