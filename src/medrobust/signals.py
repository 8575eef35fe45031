"""Processes that end when they should: by a scheduler's SIGTERM, and with their parent."""

import os
import signal
import sys
import time
from threading import Thread
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PARENT = "MEDROBUST_PARENT"


def stop_on_sigterm() -> None:
    """Let SIGTERM end this process like an exit: files are closed, locks are let go.

    Nothing is marked as failed, since `SystemExit` is no `Exception`; the cell at hand leaves no
    row, and the same command does it. A second SIGTERM ends the process at once.
    """
    owner = os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked loader process: no words, no cleaning up
            os._exit(128 + number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"stopped by SIGTERM: finished rows are kept, the same command goes on\n")
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)


def end_with_parent(parent: int) -> None:
    """End this process when its parent ends, however that happens.

    Args:
        parent: its process id, taken while it surely lived.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def end_with_launcher() -> None:
    """Processes that Lightning starts of a command end with it; called by the command itself."""
    parent = int(os.environ.get(_PARENT, os.getpid()))
    if "LOCAL_RANK" in os.environ and parent != os.getpid():
        end_with_parent(parent)
    else:
        os.environ[_PARENT] = str(os.getpid())
