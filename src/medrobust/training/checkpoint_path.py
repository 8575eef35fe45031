"""The path of a checkpoint in training: locking, reuse and obstructions."""

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pytorch_lightning.utilities import rank_zero_only

from medrobust.checkpoint import TrainingMeta, differences
from medrobust.result.lock import locked

_log = logging.getLogger(__name__)

Meta = TypeVar("Meta", bound=TrainingMeta)


class AlreadyTrainedError(FileExistsError):
    """Raised when a checkpoint from another recipe already exists."""


class ObstructedError(FileExistsError):
    """Raised when a folder is in the place of the checkpoint."""


def train_once(
    train: Callable[[], Meta],
    *,
    checkpoint: Path,
    recipe: Mapping[str, Any],
    read_meta: Callable[[Path], Meta],
    overwrite: bool,
) -> Meta:
    """Train, unless the same recipe was trained before; one process at a time per path.

    A second training into the same path waits, and then reuses the result of the first. The lock of
    a killed process is released.

    Args:
        train: trains and writes the checkpoint.
        checkpoint: path of the checkpoint.
        recipe: resolved training config, digest of the data included.
        read_meta: path -> provenance of the weights there.
        overwrite: train again, even if a checkpoint exists.

    Returns:
        The provenance of the weights at the path.

    Raises:
        AlreadyTrainedError: a checkpoint of another recipe or other data exists.
        ObstructedError: a folder that is not empty is there.
    """

    def known() -> Meta | None:
        return None if overwrite else reuse(checkpoint, recipe, read_meta)

    found = known()  # before the lock, which needs a writable folder
    if found is not None:
        return found
    with _path_lock(checkpoint):
        found = known()  # another process was first
        if found is not None:
            return found
        _clear_path(checkpoint, overwrite=overwrite)
        return train()


def reuse(
    checkpoint: Path, recipe: Mapping[str, Any], read_meta: Callable[[Path], Meta]
) -> Meta | None:
    """Return the provenance of the checkpoint at a path, None when there is none.

    Raises:
        AlreadyTrainedError: the checkpoint is of another recipe or other data.
    """
    if not checkpoint.exists() or checkpoint.is_dir():
        return None
    meta = read_meta(checkpoint)
    changed = differences(meta.recipe, recipe)
    if changed:
        raise AlreadyTrainedError(
            f"{checkpoint} was trained with another recipe:\n  "
            + "\n  ".join(changed)
            + "\nreplace it with overwrite=true, or write elsewhere with checkpoint=PATH"
        )
    report(checkpoint, meta, "already trained with this recipe on these data")
    return meta


def unfinished(checkpoint: Path) -> Path:
    """Return the folder of an unfinished training, next to its checkpoint."""
    return checkpoint.with_suffix(".training")


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def report(checkpoint: Path, meta: TrainingMeta, how: str) -> None:
    """Log a checkpoint's path and scores."""
    _log.info(
        "%s (best epoch %d of %d, %.0f s)", how, meta.best_epoch + 1, meta.epochs, meta.seconds
    )
    for name, value in meta.scores.items():
        _log.info("%-24s %.4f", name, value)
    _log.info("weights: %s", checkpoint)


@contextmanager
def _path_lock(checkpoint: Path) -> Iterator[None]:
    """Hold the path's lock; one process of a distributed training holds it for all."""
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        # Process 0 started this one while holding the lock.
        yield
        return
    folder = unfinished(checkpoint)  # checkpoints that share it must not be trained at once
    with locked(folder.parent / ".locks" / f"{folder.stem}.lock", f"training of {checkpoint}"):
        yield


@rank_zero_only
def _clear_path(checkpoint: Path, *, overwrite: bool) -> None:
    """Remove an empty folder in the checkpoint's place before a training, if `overwrite`.

    Raises:
        ObstructedError: a folder is there that is not empty, or may not be overwritten.
    """
    if not checkpoint.is_dir() or checkpoint.is_symlink():
        return  # files and links are replaced, but not a link's target
    if any(checkpoint.iterdir()):
        raise ObstructedError(
            f"{checkpoint} is a folder with files, expected a checkpoint or nothing; move it away, "
            f"or write elsewhere with checkpoint=PATH"
        )
    if not overwrite:
        raise ObstructedError(
            f"{checkpoint} is an empty folder, expected a checkpoint or nothing; replace it with "
            f"overwrite=true, or write elsewhere with checkpoint=PATH"
        )
    checkpoint.rmdir()
