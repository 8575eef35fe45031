"""Rows of cells that were computed, and of cells that failed."""

import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from omegaconf import DictConfig, OmegaConf

from medrobust.defense.core.base import Defense
from medrobust.defense.core.learned import training_queries, training_seconds
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import Result
from medrobust.evaluation.identity.provenance import revision, versions
from medrobust.evaluation.identity.row_id import Identity
from medrobust.evaluation.identity.scientific import Science
from medrobust.fingerprint import digest
from medrobust.model.core.checkpoint import TrainedVictim
from medrobust.result.row import Row
from medrobust.result.stale import unsourced_flags
from medrobust.target import by_name


def done_row(
    cell: Cell,
    result: Result,
    identity: Identity,
    *,
    names: dict[str, str],
    science: Science,
    overrides: Sequence[str],
    seconds: float,
    files: Sequence[str] = (),
) -> Row:
    """Return the row of a cell that was computed.

    Args:
        cell: what was evaluated.
        result: what came out.
        identity: of the row.
        names: that tables pivot on.
        science: the part of the config that decided the numbers.
        overrides: of the command line.
        seconds: the whole cell took.
        files: endings of the files that were written next to the row.
    """
    victim, data, groups = cell.victim, cell.data, cell.clean.groups
    meta = victim.meta if isinstance(victim, TrainedVictim) else None
    training = training_seconds(cell.defense) + (0.0 if meta is None else meta.seconds)
    took = {"training": training, "total": seconds}
    return Row(
        id=identity.id,
        status="done",
        cell=names,
        attack_variant=cell.attack.settings,
        defense_variant=cell.defense.settings,
        n=len(cell.clean),
        groups={} if groups is None else {groups.kind: groups.count},
        seed=cell.seed,
        phantom=data.phantom,
        metrics=result.measured.values | _training_queries(cell.defense),
        intervals=result.measured.intervals,
        checks=result.checks,
        flags=[*result.flags, *unsourced_flags(identity.unsourced)],
        seconds=result.seconds | took,
        confusion=result.measured.confusion,
        clean_confusion=result.measured.clean_confusion,
        classes=list(data.classes),
        fingerprints=identity.fingerprints | result.keys,
        versions=versions(),
        revision=revision(),
        code=identity.provenance,
        created=_now(),
        config=science.config | ({} if meta is None else {"victim": meta.recipe}),
        overrides=list(overrides),
        files=list(files),
    )


def failure_id(names: dict[str, str], science: Science) -> str:
    """Return the id of the failure of a cell that may have got no further than its config."""
    return digest(["failed", names, by_name(science.config)])


def failed_row(
    error: BaseException,
    config: DictConfig,
    *,
    names: dict[str, str],
    science: Science,
    overrides: Sequence[str],
) -> Row:
    """Return the row of a cell that raised an error."""
    seed: Any = OmegaConf.select(config, "seed")
    return Row(
        id=failure_id(names, science),
        status="failed",
        cell=names,
        attack_variant=science.config["attack"],
        defense_variant=science.config["defense"],
        seed=seed if isinstance(seed, int) else 0,
        phantom=OmegaConf.select(config, "data.phantom") is True,
        versions=versions(),
        revision=revision(),
        created=_now(),
        config=science.config,
        overrides=list(overrides),
        error="".join(traceback.format_exception(error)),
    )


def _training_queries(defense: Defense) -> dict[str, float]:
    """Queries that the training of a defense made of a black-box victim."""
    queries = training_queries(defense)
    return {"training_queries": float(queries)} if queries else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
