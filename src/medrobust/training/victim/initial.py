"""Initial weights of a training, from a victim that was trained before."""

from dataclasses import replace
from pathlib import Path

import torch

from medrobust.data.core.base import MedicalDataModule
from medrobust.invocation import command
from medrobust.model.core.checkpoint import TrainedVictim, VictimError, load_victim
from medrobust.model.core.expected import Expected
from medrobust.model.core.victim import Victim


class InitialCheckpointError(ValueError):
    """Raised when the initial victim is missing, damaged, or another network."""


def load_initial(path: str | Path, data: MedicalDataModule) -> TrainedVictim:
    """Load the victim whose weights a training starts from.

    Its classes must be those of the data at hand, in the same order, since the last layer is kept;
    its images may be others.

    Args:
        path: checkpoint of `medrobust train`.
        data: training data of the new victim.

    Raises:
        InitialCheckpointError: the file does not exist or is no victim's checkpoint, or it is of
            another task, other classes, or a phantom while the data at hand are real.
    """
    if not Path(path).exists():
        raise InitialCheckpointError(
            f"initial_checkpoint={path}: no such file; expected a victim's checkpoint as "
            f"medrobust train writes it, or null to start from random weights"
        )
    expected = replace(Expected.on(data), data_digest=None)
    try:
        return load_victim(path, train_command=command("train", ()), expected=expected)
    except VictimError as error:
        raise InitialCheckpointError(f"initial_checkpoint={path}: {error}") from error


def start_from(initial: Victim, victim: Victim) -> None:
    """Copy weights and batch-norm statistics into an untrained victim, all or none.

    Args:
        initial: trained victim; left unchanged.
        victim: victim that gets its weights.

    Raises:
        InitialCheckpointError: the networks differ, or normalise their input differently.
    """
    ours, theirs = victim.network.state_dict(), initial.network.state_dict()
    differ = sorted(
        name
        for name in set(ours) | set(theirs)
        if name not in ours or name not in theirs or ours[name].shape != theirs[name].shape
    )
    if differ:
        raise InitialCheckpointError(
            f"initial_checkpoint holds {_described(initial)}, {_described(victim)} is to be "
            f"trained: {len(differ)} of its tensors are missing, left over or of another shape "
            f"({', '.join(differ[:3])}{', …' if differ[3:] else ''}); it must be the same network "
            f"for as many classes"
        )
    for name in ("mean", "std"):
        mine, its = getattr(victim, name).flatten(), getattr(initial, name).flatten()
        if not torch.equal(mine, its):
            raise InitialCheckpointError(
                f"initial_checkpoint was trained with model.{name}={its.tolist()}, this training "
                f"has {mine.tolist()}; set model.{name} to the former"
            )
    victim.network.load_state_dict(theirs)


def _described(victim: Victim) -> str:
    what = victim.architecture
    return f"{what.get('name')} (num_classes={what.get('num_classes')})"
