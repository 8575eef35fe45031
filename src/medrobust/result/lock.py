"""Locks between processes, which the operating system takes back from a dead holder.

`flock` on an empty file of its own: nothing to clean up after a kill, no time-out to guess. Lock
files stay where they are, since removing one while another process waits on it would let two in.
"""

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from medrobust.result.folder import make_folder

_log = logging.getLogger(__name__)

PATIENCE = 3.0  # seconds of waiting before it is reported
_BUSY = (errno.EAGAIN, errno.EACCES)
_ABSENT = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
_open: set[int] = set()


class LockedError(RuntimeError):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, what: str, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock, waiting for it; says who holds it when that takes more than `PATIENCE`.

    Args:
        path: the lock's file; made when absent.
        what: what it guards, for messages.
        shared: any number may hold it so, while nobody holds it alone.

    Raises:
        OSError: the folder cannot be written, or its file system has no locks.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    handle = _file(path)
    try:
        end = time.monotonic() + PATIENCE
        while not _take(handle, kind | fcntl.LOCK_NB, path):
            if time.monotonic() < end:
                time.sleep(0.02)
                continue
            _log.warning("%s: waiting for %s", what, holder(path))
            _take(handle, kind, path)
            _log.info("%s: free again", what)
            break
        _sign(handle)
        yield
    finally:
        _close(handle)


@contextmanager
def locked_now(path: Path, what: str) -> Iterator[None]:
    """Hold a lock alone, or give up at once.

    Raises:
        LockedError: another process holds it; says which.
    """
    handle = _file(path)
    try:
        if not _take(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, path):
            raise LockedError(f"{what} is in use by {holder(path)}; wait for it to end")
        _sign(handle)
        yield
    finally:
        _close(handle)


def holder(path: Path) -> str:
    """Who took the lock last, and when, in words."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return f"process {note['pid']} on {note['host']}, which holds it since {note['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"  # it has the lock and did not sign yet


def _file(path: Path) -> int:
    make_folder(path.parent)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    _open.add(handle)
    return handle


def _take(handle: int, kind: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, kind)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        if error.errno in _ABSENT:
            raise OSError(
                error.errno,
                "the file system has no locks (NFS: lockd must run; Lustre: mount with -o flock); "
                "set paths.rows, paths.cache and paths.checkpoints to a folder on another one",
                str(path),
            ) from None
        raise
    return True


def _sign(handle: int) -> None:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    note = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    with suppress(OSError):  # a full disk: the lock holds, its note is for people
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(note).encode(), 0)


def _close(handle: int) -> None:
    _open.discard(handle)
    os.close(handle)


def _forget() -> None:
    """A forked child lets go: its copy would keep the lock after the parent's death."""
    while _open:
        os.close(_open.pop())


os.register_at_fork(after_in_child=_forget)
