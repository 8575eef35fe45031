"""Sweeps in processes of their own, with faults, and what they leave."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medrobust.cache.tensors import TensorCache
from medrobust.result.row import Row
from medrobust.result.store import RowStore

MATRIX = [
    "-m",
    "attack=bim,pgd",
    "defense=none,median",
    "batch_size=6",
    "attack.steps=2",
    "+hydra.callbacks.table.formats=[csv,md]",
]
_HOW = ("seconds", "created", "overrides")  # of a row: how it came to be, not what it says


class Zygote:
    """The client of `zygote.py`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py")), str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(root / "zygote.log").open("w"),
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # the pool of more does not survive a fork
        )
        self.common: list[str] = self._answer()["common"]

    def start(self, outputs: Path, *overrides: str, **faults: Any) -> int:
        """Start evaluate.py; its process id."""
        outputs.mkdir(parents=True, exist_ok=True)
        faults = {key: str(v) if isinstance(v, Path) else v for key, v in faults.items()}
        request = {
            "overrides": [*overrides, *self.common, f"paths.outputs={outputs}"],
            "log": str(outputs / "log"),
            "journal": str(outputs / "journal"),
        }
        return int(self._ask(request | faults)["pid"])

    def wait(self, pid: int) -> int:
        """Its exit status, negative for a signal."""
        return int(self._ask({"wait": pid})["status"])

    def run(self, outputs: Path, *overrides: str, **faults: Any) -> int:
        """Start it and wait."""
        return self.wait(self.start(outputs, *overrides, **faults))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.root / "zygote.log").read_text()
        return json.loads(line)


@dataclass
class Left:
    """What a sweep left in its folder.

    Attributes:
        rows: row id -> what it says.
        tensors: cache key -> SHA-256-checked bytes of its tensors.
        written: row id -> when and where its file was written.
    """

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    tensors: dict[str, dict[str, bytes]] = field(default_factory=dict)
    written: dict[str, tuple[int, int]] = field(default_factory=dict)


def says(row: Row) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if key not in _HOW}


def left(outputs: Path) -> Left:
    """Read everything; fails when a visible file is torn."""
    store, cache = RowStore(outputs / "rows"), TensorCache(outputs / "cache")
    found = Left()
    for row in store.rows():
        found.rows[row.id] = says(row)
        about = store.path(row.id).stat()
        found.written[row.id] = (about.st_ino, about.st_mtime_ns)
    for key in cache.keys():  # noqa: SIM118
        entry = cache.read(key)
        assert entry is not None
        found.tensors[key] = {n: t.numpy().tobytes() for n, t in entry.tensors.items()}
    for path in outputs.rglob("cell.json"):
        json.loads(path.read_text())
    return found


def events(outputs: Path) -> list[tuple[str, str]]:
    """Name and detail of everything that happened, in order."""
    lines = (outputs / "journal").read_text().splitlines()
    return [(name, detail) for name, detail in (line.split("\t") for line in lines)]


def until(outputs: Path, name: str, count: int = 1, limit_s: float = 60.0) -> None:
    """Wait until an event happened so often."""
    end = time.monotonic() + limit_s
    while not (outputs / "journal").exists() or (
        sum(found == name for found, _ in events(outputs)) < count
    ):
        assert time.monotonic() < end, (outputs / "log").read_text()
        time.sleep(0.005)
