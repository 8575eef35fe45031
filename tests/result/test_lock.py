"""Locks between processes: one at a time, taken back from the dead, and said who holds them."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medrobust.result import lock
from medrobust.result.lock import LockedError, holder, locked, locked_now


def child(work: Callable[[], None]) -> int:
    """Do it in a process of its own; its id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def held_by_another(path: Path, tmp_path: Path) -> int:
    """A process that holds the lock, from when this returns until the file `release` is there."""

    def hold() -> None:
        with locked(path, "x"):
            (tmp_path / "held").touch()
            while not (tmp_path / "release").exists():
                time.sleep(0.005)

    pid = child(hold)
    while not (tmp_path / "held").exists():
        time.sleep(0.005)
    return pid


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "x.lock"


def test_one_at_a_time(path: Path, tmp_path: Path) -> None:
    """Five processes add one to a number in a file, twenty times each."""
    number = tmp_path / "number"
    number.write_text("0")

    def add() -> None:
        for _ in range(20):
            with locked(path, "x"):
                found = int(number.read_text())
                time.sleep(0.0005)
                number.write_text(str(found + 1))

    for pid in [child(add) for _ in range(5)]:
        assert os.waitpid(pid, 0)[1] == 0
    assert number.read_text() == "100"


def test_a_killed_holder_lets_go(path: Path, tmp_path: Path) -> None:
    pid = held_by_another(path, tmp_path)
    with pytest.raises(LockedError, match=f"process {pid} on"), locked_now(path, "x"):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with locked_now(path, "x"):
        assert f"process {os.getpid()} on" in holder(path)


def test_a_wait_says_for_whom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    pid = held_by_another(path, tmp_path)
    said = f"row abc: waiting for process {pid} on"

    def release() -> None:
        end = time.monotonic() + 60
        while said not in caplog.text and time.monotonic() < end:
            time.sleep(0.005)
        (tmp_path / "release").touch()

    waiter = threading.Thread(target=release)
    waiter.start()
    with caplog.at_level(logging.INFO), locked(path, "row abc"):
        assert said in caplog.text
        assert "free again" in caplog.text
    waiter.join()
    os.waitpid(pid, 0)


def test_a_forked_child_does_not_keep_it(path: Path, tmp_path: Path) -> None:
    """A loader process that outlives its killed parent must not hold the parent's lock."""
    note = tmp_path / "grandchild"

    def fork_and_die() -> None:
        with locked(path, "x"):
            pid = child(lambda: time.sleep(30))
            note.write_text(str(pid))
            os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(child(fork_and_die), 0)
    try:
        with locked_now(path, "x"):
            pass
    finally:
        os.kill(int(note.read_text()), signal.SIGKILL)


def test_many_share_and_one_alone_waits(path: Path) -> None:
    with (
        locked(path, "x", shared=True),
        locked(path, "x", shared=True),
        pytest.raises(LockedError),
        locked_now(path, "x"),
    ):
        pass
    with locked_now(path, "x"):
        pass


def test_an_error_inside_lets_go(path: Path) -> None:
    with pytest.raises(KeyError), locked(path, "x"):
        raise KeyError
    with locked_now(path, "x"):
        pass


def test_a_file_system_without_locks_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, kind: int) -> None:
        raise OSError(lock.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with pytest.raises(OSError, match=r"no locks.*paths\.rows"), locked(path, "x"):
        pass
