"""Snapshots of an unfinished training, written atomically and verified when read."""

import hashlib
import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from medrobust.checkpoint import unreadable
from medrobust.result.store import write_atomically

_log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
_MAGIC = b"medrobust snapshot "
_HEADER = len(_MAGIC) + 64 + 1  # then the SHA-256 of the rest, and a line feed


class SnapshotError(RuntimeError):
    """Raised when a snapshot is damaged, or of another training."""


class Snapshots(TorchCheckpointIO):
    """Checkpoint I/O of Lightning, atomic and with checksums.

    Each snapshot starts with a SHA-256 of its bytes. The one before the last is kept, so that a
    training whose last snapshot is damaged resumes from the previous epoch.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write a snapshot; the last one becomes the previous one.

        Raises:
            OSError: the file cannot be written; the old one is kept.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        path = Path(path)
        if path.name == LAST and path.exists():
            path.replace(path.with_name(PREVIOUS))
        checksum = hashlib.sha256(content).hexdigest().encode()
        write_atomically(path, b"%s%s\n%s" % (_MAGIC, checksum, content))

    def load_checkpoint(
        self,
        path: Any,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a snapshot on the CPU, without running code in it.

        Raises:
            SnapshotError: the snapshot is damaged.
        """
        return read_snapshot(Path(path))


def read_snapshot(path: Path) -> dict[str, Any]:
    """Read a file of `Snapshots`, or of Lightning itself, without running code in it.

    Raises:
        SnapshotError: the file is damaged, or no snapshot.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    if content.startswith(_MAGIC):
        stated, content = content[len(_MAGIC) : _HEADER - 1], content[_HEADER:]
        found = hashlib.sha256(content).hexdigest()
        if found.encode() != stated:
            raise SnapshotError(
                f"{path} is damaged: its bytes give checksum {found[:12]}, its header "
                f"{stated[:12].decode(errors='replace')!r}; start over with resume=null"
            )
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive or pickle can raise almost anything
        raise SnapshotError(
            f"{path} is damaged, or no training checkpoint ({unreadable(error)}); start over with "
            f"resume=null"
        ) from None
    if not isinstance(loaded, dict) or not {"epoch", "state_dict"} <= set(loaded):
        raise SnapshotError(
            f"{path} is no training checkpoint, expected one of Lightning; start over with "
            f"resume=null"
        )
    return loaded


def resume_from(resume: str | None, folder: Path) -> Path | None:
    """Choose the snapshot from which a training resumes; None to start over.

    Args:
        resume: "auto" for the last undamaged one in the folder, None for none, or a path.
        folder: folder of the unfinished training.

    Raises:
        FileNotFoundError: the path does not exist.
        SnapshotError: the file at the path is damaged.
    """
    if resume is None:
        return None
    if resume != "auto":
        if not Path(resume).exists():
            raise FileNotFoundError(
                f"resume={resume}: no such file; expected auto, null or a .ckpt"
            )
        read_snapshot(Path(resume))
        return Path(resume)
    best = _damage(folder / BEST)
    if best is not None:
        _log.warning("%s; training starts over, since the weights of the best epoch are lost", best)
        return None
    for name, then in ((LAST, "tries the epoch before"), (PREVIOUS, "starts over")):
        path = folder / name
        problem = _damage(path)
        if problem is not None:
            _log.warning("%s; training %s", problem, then)
        elif path.is_file():
            return path
    return None


def _damage(path: Path) -> str | None:
    """Return the damage of a snapshot, None if it is undamaged or absent."""
    if not path.exists():
        return None
    try:
        read_snapshot(path)
    except (SnapshotError, OSError) as error:
        return str(error).partition(";")[0]
    return None
