"""Train a victim or defense whose checkpoint is missing, when a cell needs it (`train=missing`)."""

import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import DictConfig

import medrobust
from medrobust.checkpoint import MissingCheckpointError
from medrobust.evaluation.progress.progress import wanted
from medrobust.invocation import repeated
from medrobust.signals import OWNER

_log = logging.getLogger(__name__)

Made = TypeVar("Made")
_failed: dict[tuple[str, Path], str] = {}
"""(Folder of the sweep, checkpoint) -> error of its training in this process."""


class FailedTrainingError(RuntimeError):
    """Raised when the training of a missing checkpoint failed."""


def trained_first(work: Callable[[], Made], config: DictConfig, overrides: Sequence[str]) -> Made:
    """Return the result of a cell's work; with `train=missing`, train first what it lacks.

    The work is started again after each training, so a defense is trained for the victim that
    was trained before it. Without `train=missing` this only runs the work.

    Args:
        work: evaluates a cell; raises `MissingCheckpointError` before it computes anything.
        config: composed `conf/evaluate.yaml`.
        overrides: overrides of the cell.

    Raises:
        MissingCheckpointError: a checkpoint is missing, and is still missing after a training.
        FailedTrainingError: a training failed.
    """
    trained: set[Path] = set()
    while True:
        try:
            return work()
        except (MissingCheckpointError, InstantiationException) as error:
            missing = error.__cause__ if isinstance(error, InstantiationException) else error
            if not isinstance(missing, MissingCheckpointError) or config.get("train") is None:
                raise
            if missing.path in trained:
                raise
        _train(missing, _words(config, overrides))
        trained.add(missing.path)


def _words(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Return overrides that the printed command lacks and that change no weight."""
    places = [word for word in overrides if word.startswith(("logger=", "paths.outputs="))]
    bar = [] if wanted() else ["progress_bar=false"]
    device = f"trainer.accelerator={config.trainer.accelerator}"
    return [*places, *repeated(overrides, ["logger"]), device, *bar]


def _train(missing: MissingCheckpointError, words: Sequence[str]) -> None:
    """Run the command of the error in a process of its own.

    A training changes global settings of PyTorch, such as its deterministic algorithms, that must
    not reach the numbers of a cell. `medrobust train` locks the checkpoint's path: of two
    processes that want the same checkpoint, the second waits and trains nothing.

    Raises:
        FailedTrainingError: the process failed, now or for an earlier cell of the sweep.
    """
    place = HydraConfig.get().sweep.dir, missing.path
    if place in _failed:
        raise FailedTrainingError(_failed[place])
    _, train, *rest = shlex.split(missing.train_command)
    given = {word.partition("=")[0] for word in rest}
    own = [*words, f"checkpoint={_quoted(missing.path)}"]
    command = [train, *rest, *(word for word in own if word.partition("=")[0] not in given)]
    _log.info("no trained %s at %s, training it first", missing.what, missing.path)
    status = run_command(command)
    if status:
        _failed[place] = (
            f"the training of {missing.path} ended with status {status}, expected 0; its own "
            f"message is above, and the command is\n  {shlex.join(['medrobust', *command])}"
        )
        raise FailedTrainingError(_failed[place])


def _quoted(path: Path) -> str:
    """Return a path as a value of an override."""
    text = str(path)
    if re.fullmatch(r"[\w./-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def run_command(words: Sequence[str]) -> int:
    """Run a command of this package in another process, which ends when this one ends.

    Args:
        words: the command without `medrobust`.

    Returns:
        The exit status; negative for a signal.
    """
    here = [str(Path(medrobust.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, here))  # the same package as in this process
    variables = os.environ | {OWNER: str(os.getpid()), "PYTHONPATH": path}
    process = [sys.executable, "-m", "medrobust", *words]
    return subprocess.run(process, env=variables, check=False).returncode
