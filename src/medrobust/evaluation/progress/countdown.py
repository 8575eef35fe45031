"""Hydra callback: after each cell, one line about the whole sweep, for a person at a terminal."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

_PLAN, _MARK = "sweep.json", "cell.json"


@dataclass(frozen=True)
class State:
    """Progress of a sweep.

    Attributes:
        total: cells planned; None when the sweeper decides as it goes.
        done: cells with a row, those that had one before among them.
        skipped: cells that had one before.
        failed: cells that failed.
        seconds: since the sweep began.
    """

    total: int | None
    done: int
    skipped: int
    failed: int
    seconds: float

    @property
    def left(self) -> float | None:
        """Estimated seconds left: as long per cell as those that were computed took so far."""
        computed = self.done - self.skipped + self.failed
        if self.total is None or not computed:
            return None
        return self.seconds / computed * (self.total - self.done - self.failed)

    def line(self) -> str:
        """The line."""
        whole = "" if self.total is None else f" of {self.total}"
        parts = [f"{self.done}{whole} cells done"]
        if self.skipped:
            parts[0] += f" ({self.skipped} from before)"
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.total is not None:
            parts.append(f"{self.total - self.done - self.failed} left")
        if self.left:
            parts.append(f"about {duration(self.left)}")
        return "sweep: " + ", ".join(parts)


def state(folder: Path, now: float) -> State:
    """Return the progress of the sweep in a folder, from its plan and the marks of its cells.

    Args:
        folder: the sweep's; any process of the sweep may call this.
        now: seconds since the epoch.
    """
    plan = folder / _PLAN
    jobs, begin = None, now
    if plan.exists():
        jobs = json.loads(plan.read_text(encoding="utf-8"))["jobs"]
        begin = plan.stat().st_mtime
    marks = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob(_MARK)]
    statuses = [mark["status"] for mark in marks]
    failed, skipped = statuses.count("failed"), statuses.count("skipped")
    total = None if jobs is None else len(jobs)
    return State(total, len(statuses) - failed, skipped, failed, now - begin)


class CountdownCallback(Callback):
    """Prints the line when a cell ends, whichever process ran it."""

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        """Print it, in a sweep on a terminal."""
        if config.hydra.mode == RunMode.MULTIRUN and sys.stderr.isatty():
            print(state(Path(config.hydra.sweep.dir), time.time()).line(), file=sys.stderr)


def duration(seconds: float) -> str:
    """Return a time as text in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
