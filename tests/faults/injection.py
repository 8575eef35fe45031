"""Faults put into a process that is about to run evaluate.py: it counts what happens, and dies."""

import errno
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from medrobust.evaluation import predict
from medrobust.result import store
from medrobust.threat.surrogate import Surrogate

PHASES = {
    "craft": ("craft",),
    "write": ("answer", "write cache", "rename cache", "renamed cache"),
    "row": ("write row", "rename row", "renamed row", "write mark", "rename mark", "renamed mark"),
    "table": ("write table", "rename table", "renamed table"),
}


class Journal:
    """Notes every event in a file, one line each, and kills this process at a chosen one.

    Args:
        path: the file.
        kill_at: number of the event at which the process is killed, None for never.
        share: of a file that is on the disk when it is killed while writing it.
        gate: at this file's own event (`craft 2` for the second craft) this process waits until
            the file is there; None for never.
    """

    def __init__(
        self, path: Path, kill_at: int | None, share: float, gate: Path | None = None
    ) -> None:
        self.path, self.kill_at, self.share, self.gate = path, kill_at, share, gate
        self.count = 0
        self.seen: Counter[str] = Counter()
        self.writing = Path()
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def event(self, name: str, detail: str = "", handle: int | None = None) -> None:
        os.write(self.file, f"{name}\t{detail}\n".encode())
        if self.count == self.kill_at:
            if handle is not None:
                os.ftruncate(handle, int(self.share * os.fstat(handle).st_size))
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1
        self.seen[name] += 1
        if self.gate is not None and self.gate.name == f"{name} {self.seen[name]}":
            while not self.gate.exists():  # for ever: whoever started this process stops it
                time.sleep(0.005)


def watch(journal: Journal) -> None:
    """Let every step of an attack, every batch answered and every write pass the journal."""
    look, fields, write = Surrogate.value_and_grad, predict._fields, store.atomic_file
    sync, replace = os.fsync, Path.replace

    @wraps(look)  # as the class has it: its code is a part of every identity
    def craft(self: Surrogate, *args: Any, **kwargs: Any) -> Any:
        journal.event("craft")
        return look(self, *args, **kwargs)

    def answer(prediction: Any) -> Any:
        journal.event("answer")
        return fields(prediction)

    @wraps(write)
    def writing(path: Path) -> Any:
        journal.writing = path
        return write(path)

    def fsync(handle: int) -> None:
        journal.event(f"write {kind(journal.writing)}", journal.writing.name, handle)
        sync(handle)

    def rename(self: Path, target: Path) -> Path:
        journal.event(f"rename {kind(journal.writing)}", journal.writing.name)
        done = replace(self, target)
        journal.event(f"renamed {kind(journal.writing)}", journal.writing.name)
        return done

    Surrogate.value_and_grad = craft  # type: ignore[method-assign]
    predict._fields = answer
    store.atomic_file = writing
    os.fsync = fsync
    Path.replace = rename  # type: ignore[method-assign]


def fill_disk(what: str) -> None:
    """From now on there is no room for files of this kind; half of each still fits."""
    write = store.atomic_file
    sync = os.fsync
    state = {"full": False}

    @wraps(write)
    def writing(path: Path) -> Any:
        state["full"] = kind(path) == what
        return write(path)

    def fsync(handle: int) -> None:
        if state["full"]:
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    store.atomic_file = writing
    os.fsync = fsync


def slow(seconds: float) -> None:
    """Each step of an attack takes at least so long, so that two processes are likely to meet."""
    look: Callable[..., Any] = Surrogate.value_and_grad

    @wraps(look)  # as the class has it: its code is a part of every identity
    def craft(self: Surrogate, *args: Any, **kwargs: Any) -> Any:
        time.sleep(seconds)
        return look(self, *args, **kwargs)

    Surrogate.value_and_grad = craft  # type: ignore[method-assign]


def kind(path: Path) -> str:
    """What a file is: cache, row, mark (of a job), table or other."""
    if path.suffix == ".safetensors":
        return "cache"
    if path.parent.name == "rows" or path.parent.parent.name == "rows":
        return "row"
    if path.name == "cell.json":
        return "mark"
    return "table" if path.stem in ("table", "sweep", "report") else "other"
