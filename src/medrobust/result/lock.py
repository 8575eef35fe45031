"""Locks between processes that the operating system releases when the holder dies.

Each lock is a `flock` on a file of its own, so a kill leaves nothing to clean up and no time-out
is needed. Lock files are never removed: with a process waiting on one, two would get the lock.
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

PATIENCE = 3.0  # seconds of waiting before a message
_BUSY = (errno.EAGAIN, errno.EACCES)
_ABSENT = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
_open: set[int] = set()


class LockedError(RuntimeError):
    """Raised when another process holds the lock."""


@contextmanager
def locked(path: Path, what: str, *, shared: bool = False) -> Iterator[None]:
    """Wait for a lock and hold it; after `PATIENCE` seconds, log which process holds it.

    Args:
        path: file of the lock, created if absent.
        what: name of the guarded resource, for messages.
        shared: take a shared lock instead of an exclusive one.

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
    """Hold an exclusive lock without waiting for it.

    Raises:
        LockedError: another process holds it; the message names the process.
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
    """Describe the process that took the lock last, and when."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return f"process {note['pid']} on {note['host']}, which holds it since {note['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"  # it has the lock and has not written its note yet


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
    with suppress(OSError):  # on a full disk the lock still holds; the note is only for messages
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(note).encode(), 0)


def _close(handle: int) -> None:
    _open.discard(handle)
    os.close(handle)


def _forget() -> None:
    """Release all locks in a forked child, whose copies would outlive the parent's."""
    while _open:
        os.close(_open.pop())


os.register_at_fork(after_in_child=_forget)
