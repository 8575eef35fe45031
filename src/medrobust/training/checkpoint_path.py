"""The path of a checkpoint in training: one training at a time, and nothing in its way."""

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
    """Something trained by another recipe is where the result should go."""


class ObstructedError(FileExistsError):
    """A folder is where the result should go."""


def train_once(
    train: Callable[[], Meta],
    *,
    checkpoint: Path,
    recipe: Mapping[str, Any],
    read_meta: Callable[[Path], Meta],
    overwrite: bool,
) -> Meta:
    """Train, unless the same was trained before; one process at a time per path.

    Of two trainings into one path the second waits, and then finds what the first one left. A
    process that dies holds nothing.

    Args:
        train: trains and writes the checkpoint.
        checkpoint: its path.
        recipe: resolved training config, digest of the data included.
        read_meta: path -> where the weights there come from.
        overwrite: train again, whatever lies there.

    Returns:
        Where the weights at the path come from.

    Raises:
        AlreadyTrainedError: something was trained there by another recipe or on other data.
        ObstructedError: a folder that is not empty lies there.
    """

    def known() -> Meta | None:
        return None if overwrite else reuse(checkpoint, recipe, read_meta)

    found = known()  # before the lock, which wants a folder that can be written
    if found is not None:
        return found
    with _alone(checkpoint):
        found = known()  # another process did it meanwhile
        if found is not None:
            return found
        _make_way(checkpoint, overwrite=overwrite)
        return train()


def reuse(
    checkpoint: Path, recipe: Mapping[str, Any], read_meta: Callable[[Path], Meta]
) -> Meta | None:
    """Return what was trained before at a path, None when nothing was.

    Raises:
        AlreadyTrainedError: it was trained by another recipe or on other data.
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
    """Folder of a training that is not finished, next to its checkpoint."""
    return checkpoint.with_suffix(".training")


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def report(checkpoint: Path, meta: TrainingMeta, how: str) -> None:
    """Log what lies at a path, and how good it is."""
    _log.info(
        "%s (best epoch %d of %d, %.0f s)", how, meta.best_epoch + 1, meta.epochs, meta.seconds
    )
    for name, value in meta.scores.items():
        _log.info("%-24s %.4f", name, value)
    _log.info("weights: %s", checkpoint)


@contextmanager
def _alone(checkpoint: Path) -> Iterator[None]:
    """Hold the path's lock. Of the processes of one training the first one holds it for all."""
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        # The first one started this process while it held the lock.
        yield
        return
    folder = unfinished(checkpoint)  # two checkpoints that share it must not be trained at once
    with locked(folder.parent / ".locks" / f"{folder.stem}.lock", f"training of {checkpoint}"):
        yield


@rank_zero_only
def _make_way(checkpoint: Path, *, overwrite: bool) -> None:
    """Find out before a training whether its result can be written.

    Raises:
        ObstructedError: a folder lies there, and it is not empty or nothing may be overwritten.
    """
    if not checkpoint.is_dir() or checkpoint.is_symlink():
        return  # a file is replaced, and so is a link, but not what it points to
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
