"""Trained defenses on disk: settings, weights and provenance, without code."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from medrobust.checkpoint import (
    CheckpointError,
    Count,
    MissingCheckpointError,
    TrainingMeta,
    read,
    save,
)
from medrobust.fingerprint import digest_tensors


class DefenseError(CheckpointError):
    """Raised when a defense's checkpoint is damaged, foreign, or not the expected one."""


class MissingDefenseError(MissingCheckpointError):
    """Raised when there is no trained defense at a path."""

    what = "defense"


@dataclass(frozen=True)
class DefenseMeta(TrainingMeta):
    """Provenance of a defense's weights, as plain data.

    Attributes:
        victim: fingerprint of its victim; empty for a defense without one.
        queries: queries to the victim, if that was a black box in training.
    """

    victim: str = ""
    queries: Count = 0


def save_defense(
    path: str | Path, settings: Mapping[str, Any], state: Mapping[str, Tensor], meta: DefenseMeta
) -> None:
    """Write a defense's weights atomically.

    Args:
        path: file to write.
        settings: settings of the defense that decide its training.
        state: its weights.
        meta: their provenance.
    """
    save(path, state, fingerprint=digest_tensors(state), meta=meta, settings=dict(settings))


def read_meta(path: str | Path) -> DefenseMeta:
    """Return the provenance of the defense at a path, without building it.

    Raises:
        DefenseError: the file is no defense, or damaged.
        FileNotFoundError: there is no such file.
    """
    return DefenseMeta(**read_defense(path)["meta"])


def read_defense(path: str | Path) -> dict[str, Any]:
    """Return `settings`, `state_dict`, `fingerprint` and `meta` of the defense at a path.

    No code in the file is run.

    Raises:
        DefenseError: the file is no defense, or damaged.
        FileNotFoundError: there is no such file.
    """
    parts = ("settings",)
    return read(Path(path), what="defense", parts=parts, meta=DefenseMeta, error=DefenseError)
