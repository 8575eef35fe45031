"""Victims on disk: architecture, weights, and where they come from. Nothing in it is code."""

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medrobust.checkpoint import (
    CheckpointError,
    MissingCheckpointError,
    TrainingMeta,
    read,
    save,
)
from medrobust.model.victim import Victim
from medrobust.settings import Code

_BUILDER = re.compile(r"medrobust\.model\.[a-z0-9_]+\.build")


class VictimError(CheckpointError):
    """A victim's checkpoint is damaged, foreign, or not the one that was asked for."""


class MissingVictimError(MissingCheckpointError):
    """There is no trained victim at a path."""

    what = "victim"


@dataclass(frozen=True)
class VictimMeta(TrainingMeta):
    """Where a victim comes from; plain data."""


class TrainedVictim(Victim):
    """A frozen victim with a record of where it comes from.

    Args:
        victim: what was trained.
        meta: where it comes from.
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
        """The code of the victim that was trained; a record of its training computes nothing."""
        return self._code


def save_victim(path: str | Path, victim: Victim, meta: VictimMeta) -> None:
    """Write a victim, whole or not at all.

    Args:
        path: file to write.
        victim: its architecture must name a `build` in `medrobust.model`.
        meta: where it comes from.

    Raises:
        VictimError: the architecture could not be built again.
    """
    _builder(victim.architecture, str(path))
    save(
        path,
        victim.state_dict(),
        fingerprint=victim.fingerprint,
        meta=meta,
        architecture=victim.architecture,
    )


def read_meta(path: str | Path) -> VictimMeta:
    """Where the victim at a path comes from, without building it.

    Raises:
        VictimError: not a victim, or damaged.
        FileNotFoundError: no such file.
    """
    return VictimMeta(**_read(Path(path))["meta"])


def load_victim(
    path: str | Path,
    *,
    train_command: str,
    num_classes: int | None = None,
    data_digest: str | None = None,
) -> TrainedVictim:
    """A frozen victim with its `meta`. No code in the file is run, whoever wrote it.

    Args:
        path: what `save_victim` wrote.
        train_command: command that trains it, for the error when it is not there.
        num_classes: classes of the data at hand; None accepts any.
        data_digest: manifest digest of the data at hand; None accepts any.

    Raises:
        MissingVictimError: no such file.
        VictimError: not a victim, damaged, or of other classes or data than expected.
    """
    path = Path(path)
    if not path.exists():
        raise MissingVictimError(path, train_command)
    content = _read(path)
    meta = VictimMeta(**content["meta"])
    mend = f"; train it again with\n  {train_command} overwrite=true"
    if num_classes is not None and len(meta.classes) != num_classes:
        raise VictimError(
            f"{path} knows {len(meta.classes)} classes ({meta.data_key}), "
            f"the data at hand have {num_classes}{mend}"
        )
    if data_digest is not None and meta.data_digest != data_digest:
        raise VictimError(
            f"{path} was trained on {meta.data_key} with manifest {meta.data_digest[:12]}, "
            f"the data at hand have {data_digest[:12]}{mend}"
        )
    architecture = content["architecture"]
    build = _builder(architecture, str(path))
    try:
        built = build(**{key: value for key, value in architecture.items() if key != "_target_"})
        built.load_state_dict(content["state_dict"])
    except (TypeError, ValueError, RuntimeError) as error:
        raise VictimError(
            f"{path}: weights and architecture do not agree ({error}){mend}"
        ) from None
    if built.fingerprint != content["fingerprint"]:
        raise VictimError(
            f"{path}: its weights give fingerprint {built.fingerprint[:12]}, "
            f"the file says {content['fingerprint'][:12]}{mend}"
        )
    return TrainedVictim(built, meta)


def _read(path: Path) -> dict[str, Any]:
    return read(path, what="victim", parts=("architecture",), meta=VictimMeta, error=VictimError)


def _builder(architecture: Mapping[str, Any], source: str) -> Any:
    # Only this package's builders: a file must not choose what else is called.
    target = str(architecture.get("_target_"))
    if not _BUILDER.fullmatch(target):
        raise VictimError(
            f"{source}: architecture is built by {target!r}, expected medrobust.model.<file>.build"
        )
    try:
        return importlib.import_module(target.removesuffix(".build")).build
    except (ImportError, AttributeError) as error:
        raise VictimError(f"{source}: there is no {target} ({error})") from None
