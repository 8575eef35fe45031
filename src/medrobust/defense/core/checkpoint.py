"""Trained defenses on disk: settings, weights, and where they come from. Nothing in it is code."""

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
    """A defense's checkpoint is damaged, foreign, or not the one that was asked for."""


class MissingDefenseError(MissingCheckpointError):
    """There is no trained defense at a path."""

    what = "defense"


@dataclass(frozen=True)
class DefenseMeta(TrainingMeta):
    """Where a defense's weights come from; plain data.

    Attributes:
        victim: fingerprint of the victim that it was trained for; empty when it needs none.
        queries: images that the victim was asked about, where it was a black box in training.
    """

    victim: str = ""
    queries: Count = 0


def save_defense(
    path: str | Path, settings: Mapping[str, Any], state: Mapping[str, Tensor], meta: DefenseMeta
) -> None:
    """Write a defense's weights, whole or not at all.

    Args:
        path: file to write.
        settings: of the defense, as far as they decide its training.
        state: its weights.
        meta: where they come from.
    """
    save(path, state, fingerprint=digest_tensors(state), meta=meta, settings=dict(settings))


def read_meta(path: str | Path) -> DefenseMeta:
    """Where the defense at a path comes from, without building it.

    Raises:
        DefenseError: not a defense, or damaged.
        FileNotFoundError: no such file.
    """
    return DefenseMeta(**read_defense(path)["meta"])


def read_defense(path: str | Path) -> dict[str, Any]:
    """`settings`, `state_dict`, `fingerprint` and `meta` of the defense at a path.

    No code in the file is run, whoever wrote it.

    Raises:
        DefenseError: not a defense, or damaged.
        FileNotFoundError: no such file.
    """
    parts = ("settings",)
    return read(Path(path), what="defense", parts=parts, meta=DefenseMeta, error=DefenseError)
