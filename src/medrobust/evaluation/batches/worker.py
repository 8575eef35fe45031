"""Process of one device, which computes shares of the images."""

import io
import logging
import logging.handlers
import multiprocessing
import pickle
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from medrobust.data.core.image_set import ImageSet
from medrobust.evaluation.batches.batches import map_batches
from medrobust.signals import end_with_parent

STOP = b"stop"


class _StoppedError(Exception):
    """Another device's share failed: this one is not needed any more."""


class RemoteError(Exception):
    """Traceback of an error in another process, chained as its cause."""


class _Pipe:
    """Passes log records on, as `QueueHandler` wants it."""

    def __init__(self, end: Connection) -> None:
        self._end = end

    def put_nowait(self, record: logging.LogRecord) -> None:
        self._end.send(("log", record))


def serve(fabric: Fabric, ends: Sequence[Connection]) -> None:
    """Work on shares until the pipe is closed; what fails is reported, and the next one awaited.

    A share comes as two messages, what to do and what to do it to; `STOP` ends it early. Answers
    are pairs: `ready`, `advance` (images done), `log` (a record), and at the end one of `done`
    (tensors), `failed` (error and its traceback) or `stopped`.

    Args:
        fabric: of this process.
        ends: one end of a pipe per process.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        end_with_parent(parent.pid)
    end = ends[fabric.global_rank]
    root = logging.getLogger()
    root.handlers = [logging.handlers.QueueHandler(_Pipe(end))]  # type: ignore[arg-type]
    with suppress(EOFError, ConnectionError):
        end.send(("ready", None))
        while True:
            _answer(fabric.device, end)


def _answer(device: torch.device, end: Connection) -> None:
    work = end.recv_bytes()
    if work == STOP:  # it came when the last share was done already
        return
    share = end.recv_bytes()
    answer: tuple[str, Any]
    try:
        answer = ("done", packed(_share(device, end, work, share)))
    except _StoppedError:
        answer = ("stopped", None)
    except Exception as error:
        answer = ("failed", _portable(error))
    end.send(answer)


def _share(device: torch.device, end: Connection, work: bytes, share: bytes) -> dict[str, Tensor]:
    def advance(images: int) -> None:
        end.send(("advance", images))
        if end.poll():  # nothing else comes before the answer
            end.recv_bytes()
            raise _StoppedError

    images, labels, ids, seeds, first, batch_size = unpacked(share, torch.device("cpu"))
    return map_batches(
        unpacked(work, device),
        ImageSet(images, labels, ids),
        seeds,
        batch_size=batch_size,
        device=device,
        advance=advance,
        first=first,
    )


def packed(value: Any) -> bytes:
    """Anything with tensors in it, as bytes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def unpacked(content: bytes, device: torch.device) -> Any:
    """Unpack what a process of this very sweep packed, its tensors on a device."""
    return torch.load(io.BytesIO(content), map_location=device, weights_only=False)


def _portable(error: Exception) -> tuple[Exception, str]:
    """The error, if it survives the way to another process, else one in its words."""
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # of whatever kind: its class decides
        return RuntimeError(f"{type(error).__name__}: {error}"), trace
    return error, trace
