"""Victims on disk: architecture, weights and provenance, without code."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medrobust.checkpoint import (
    MissingCheckpointError,
    TrainingMeta,
    check_dtypes,
    read,
    save,
)
from medrobust.configured import Code
from medrobust.model.core.builder import check_architecture
from medrobust.model.core.error import VictimError
from medrobust.model.core.expected import Expected
from medrobust.model.core.rebuild import rebuild
from medrobust.model.core.victim import Victim


class MissingVictimError(MissingCheckpointError):
    """Raised when there is no trained victim at a path."""

    what = "victim"


@dataclass(frozen=True)
class VictimMeta(TrainingMeta):
    """Provenance of a victim, as plain data."""


class TrainedVictim(Victim):
    """A frozen victim with its provenance.

    Args:
        victim: trained victim.
        meta: its provenance.
    """

    def __init__(self, victim: Victim, meta: VictimMeta) -> None:
        super().__init__(
            victim.network,
            mean=victim.mean.flatten().tolist(),
            std=victim.std.flatten().tolist(),
            architecture=victim.architecture,
            anchors=victim.anchors,
        )
        self.meta = meta
        self._code = victim.computed_by
        self.freeze()

    @property
    def computed_by(self) -> tuple[Code, ...]:
        """Return the code of the victim that was trained; its provenance computes nothing."""
        return self._code


def save_victim(path: str | Path, victim: Victim, meta: VictimMeta) -> None:
    """Write a victim atomically.

    Args:
        path: file to write.
        victim: victim whose architecture names a builder in `medrobust.model`.
        meta: its provenance.

    Raises:
        VictimError: the victim could not be loaded again, because its architecture cannot be built
            or its weights are not float32.
    """
    check_architecture(victim.architecture, str(path))
    for name, tensor in victim.state_dict().items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise VictimError(
                f"{path}: {name} is in {tensor.dtype}, expected torch.float32; convert the victim "
                f"with victim.float(), and measure its scores again"
            )
    save(
        path,
        victim.state_dict(),
        fingerprint=victim.fingerprint,
        meta=meta,
        architecture=victim.architecture,
    )


def read_meta(path: str | Path) -> VictimMeta:
    """Return the provenance of the victim at a path, without building it.

    Raises:
        VictimError: the file is no victim, or damaged.
        FileNotFoundError: there is no such file.
    """
    return VictimMeta(**_read(Path(path))["meta"])


def load_victim(
    path: str | Path, *, train_command: str = "medrobust train", expected: Expected | None = None
) -> TrainedVictim:
    """Load a frozen victim with its `meta`.

        >>> victim = medrobust.load_victim("checkpoints/dermamnist_28px/resnet18/…/seed_0.ckpt")

    The file is not trusted: no code in it is run and no URL in it is opened. Its network is one of
    this package's, and its weights are in the file.

    Args:
        path: file written by `save_victim`.
        train_command: command that trains it, for the error when it is missing.
        expected: requirements on it; None accepts any victim.

    Raises:
        MissingVictimError: there is no such file.
        VictimError: the file is no victim, damaged, or another victim than expected.
    """
    path = Path(path)
    if not path.exists():
        raise MissingVictimError(path, train_command)
    content = _read(path)
    meta, architecture = VictimMeta(**content["meta"]), content["architecture"]
    if expected is not None:
        expected.check(path, meta, architecture, train_command)
    remedy = f"train it again with\n  {train_command} overwrite=true"
    check_architecture(architecture, str(path))
    if architecture["num_classes"] != len(meta.classes):
        raise VictimError(
            f"{path} names {len(meta.classes)} classes for a network of "
            f"{architecture['num_classes']}; {remedy}"
        )
    try:
        built = rebuild(architecture, str(path))
        state = content["state_dict"]
        check_dtypes(path, built.state_dict(), state, error=VictimError, remedy=remedy)
        built.load_state_dict(state)
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        if isinstance(error, VictimError):
            raise
        raise VictimError(
            f"{path}: weights and architecture do not agree ({error}); {remedy}"
        ) from None
    if built.fingerprint != content["fingerprint"]:
        raise VictimError(
            f"{path}: its weights give fingerprint {built.fingerprint[:12]}, "
            f"the file says {content['fingerprint'][:12]}; {remedy}"
        )
    return TrainedVictim(built, meta)


def _read(path: Path) -> dict[str, Any]:
    return read(path, what="victim", parts=("architecture",), meta=VictimMeta, error=VictimError)
