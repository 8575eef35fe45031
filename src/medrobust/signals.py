"""End processes on a scheduler's SIGTERM and together with their parent."""

import os
import select
import signal
import sys
import time
from threading import Thread
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PARENT = "MEDROBUST_PARENT"
OWNER = "MEDROBUST_OWNER"
"""Environment variable with the process id of an evaluation that started a training."""


def stop_on_sigterm() -> None:
    """Make SIGTERM end this process like an exit, which closes files and releases locks.

    Nothing is marked as failed, since `SystemExit` is not an `Exception`. The current cell writes
    no row, and the same command runs it again. A second SIGTERM ends the process at once.
    """
    owner = os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked loader process: no message, no clean-up
            os._exit(128 + number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Not print, which the signal may have interrupted.
        os.write(2, b"stopped by SIGTERM: finished rows are kept, the same command goes on\n")
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)


def end_with_parent(parent: int) -> None:
    """End this process when its parent ends for any reason.

    Args:
        parent: process id of the parent, taken while it was alive.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def end_with(process: int) -> None:
    """End this process when another one, of which it may be no child, ends for any reason.

    Args:
        process: process id on this machine.
    """
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:  # it ended before
        os._exit(1)
    except (AttributeError, OSError):  # not Linux, or an old one
        return
    Thread(target=_await, args=(handle,), daemon=True).start()


def _await(handle: int) -> None:
    select.select([handle], [], [])  # readable when the process has ended
    os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def end_with_launcher() -> None:
    """End this process with the one that started it: Lightning, or an evaluation."""
    if OWNER in os.environ:
        end_with(int(os.environ[OWNER]))
    parent = int(os.environ.get(_PARENT, os.getpid()))
    if "LOCAL_RANK" in os.environ and parent != os.getpid():
        end_with_parent(parent)
    else:
        os.environ[_PARENT] = str(os.getpid())
