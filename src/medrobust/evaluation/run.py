"""Run one cell, from a composed config to its row: skipped, computed, or failed by itself."""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from medrobust.cache.tensors import TensorCache
from medrobust.code.package import package_digest
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.build import devices_of, parts_of
from medrobust.evaluation.evaluate import evaluate
from medrobust.evaluation.identity.row_id import identity_of
from medrobust.evaluation.identity.scientific import Science
from medrobust.evaluation.known import is_complete, known_row
from medrobust.evaluation.missing import trained_first
from medrobust.evaluation.record.requests import Requests
from medrobust.evaluation.row import done_row, failed_row, failure_id
from medrobust.invocation import config_flags
from medrobust.keys import EVALUATE
from medrobust.logger.cell import kept_pictures, log_cell
from medrobust.result.row import CELL, Row
from medrobust.result.sealed import write_note
from medrobust.result.sidecar import present
from medrobust.result.stale import code_flags
from medrobust.result.store import RowStore
from medrobust.typed import check_config

_log = logging.getLogger(__name__)


def run_cell(config: DictConfig) -> float | None:
    """Run the cell of a composed config, or skip it when its row is there.

    In a sweep a failure becomes a `failed` row and the next cell goes on; alone it is raised.

    Args:
        config: what `conf/evaluate.yaml` composes to.

    Returns:
        The value of `table.metric`, for sweepers that optimise; None when the cell failed.
    """
    job = Job.of(config, HydraConfig.get())
    try:
        check_config(config, EVALUATE)
        row, status = trained_first(lambda: _row(config, job), config, job.overrides)
    except Exception as caught:
        # Hydra wraps what a constructor raises; its cause is what a person can fix.
        wrapped = caught.__cause__ if isinstance(caught, InstantiationException) else None
        error = wrapped or caught
        row = _fail(error, config, job)
        if not job.sweep:
            raise error from None
        _log.error("failed: %s: %s (row %s)", type(error).__name__, error, row.id[:12])
        return None
    job.store.path(failure_id(job.names, job.science)).unlink(missing_ok=True)
    job.note(row, status)
    if status == "skipped":  # so that the logger has every cell of the sweep
        log_cell(instantiate(config.logger), row, kept_pictures(job.store.picture(row.id)))
    name, *_ = config.table.get("metrics") or [config.table.metric]
    value = row.metrics.get(name)
    _log.info(
        "%s: %s = %s [%.4f, %.4f], n = %d%s%s",
        status,
        name,
        "not defined here" if value is None else f"{value:.4f}",
        *row.intervals.get(name, [float("nan")] * 2),
        row.n,
        " PHANTOM" if row.phantom else "",
        "".join(f"\n  flag: {flag}" for flag in (*row.flags, *code_flags(row, package_digest()))),
    )
    return value


@dataclass(frozen=True)
class Job:
    """One job of Hydra.

    Attributes:
        store: of rows.
        folder: of the job.
        overrides: of the command line.
        choices: name of what was chosen in each config group.
        words: what `medrobust evaluate` needs to run the job again: flags and overrides.
        science: the part of the config that decides the numbers.
        names: that tables pivot on.
        sweep: the job is one of several.
    """

    store: RowStore
    folder: Path
    overrides: list[str]
    choices: dict[str, str]
    words: list[str]
    science: Science
    names: dict[str, str]
    sweep: bool

    @classmethod
    def of(cls, config: DictConfig, hydra: HydraConf) -> "Job":
        """Read a job; a config that cannot be resolved is left to `check_config`."""
        choices = {name: str(choice) for name, choice in hydra.runtime.choices.items()}
        try:
            science, names = Science.of(config), _names(config, choices)
        except (OmegaConfBaseException, KeyError):
            science = Science.unresolved(config)
            names = {name: choices.get(name, "") for name in CELL}
        return cls(
            RowStore(config.paths.rows),
            Path(hydra.runtime.output_dir),
            list(hydra.overrides.task),
            choices,
            _again(hydra),
            science,
            names,
            sweep=hydra.mode == RunMode.MULTIRUN,
        )

    def note(self, row: Row, status: str) -> None:
        """Write into the job's folder which row this job made or found."""
        note = {
            "row": row.id,
            "status": status,
            "overrides": self.overrides,
            "rows": str(self.store.folder.resolve()),
        }
        write_note(self.folder / "cell.json", note)


def _row(config: DictConfig, job: Job) -> tuple[Row, str]:
    """Return the cell's row, and `done` or `skipped`."""
    start = time.perf_counter()
    device, shards = devices_of(config.trainer)
    package = package_digest()  # before anything can be edited while the cell runs
    cell, threat = parts_of(config, job.choices, job.overrides, device)
    science = job.science.judged_by(cell.draws)
    identity = identity_of(cell, threat, job.names, science, package)
    requests = Requests.parse(config, cell)

    def known() -> Row | None:
        return known_row(job.store, identity.id, rerun=config.rerun, unsourced=identity.unsourced)

    row = known()
    if row is not None and is_complete(job.store, row, requests):
        return row, "skipped"
    cache = TensorCache(config.paths.cache, replay=config.rerun is not True)
    runner = Runner(device, config.batch_size, cache, shards)
    with cache.in_use(), job.store.lock(identity.id):
        row = known()  # another sweep may have done it meanwhile
        if row is not None and is_complete(job.store, row, requests):
            return row, "skipped"
        result = evaluate(cell, runner)
        pictures = requests.write(cell, result, runner, job.store, identity.id)
        files = present(job.store, identity.id)
        if row is not None:  # it lacked only files next to it; its answers came from the cache
            if row.files and row.files != files:
                row = replace(row, files=files)
                job.store.put(row)
            return row, "skipped"
        row = done_row(
            *(cell, result, identity),
            names=job.names,
            science=science,
            overrides=job.words,
            seconds=time.perf_counter() - start,
            files=files,
        )
        job.store.put(row)
    log_cell(instantiate(config.logger), row, pictures)
    return row, "done"


def _fail(error: BaseException, config: DictConfig, job: Job) -> Row:
    """Store, note and log the row of a failure."""
    row = failed_row(error, config, names=job.names, science=job.science, overrides=job.words)
    job.store.put(row)
    job.note(row, "failed")
    try:
        log_cell(instantiate(config.logger), row, {})
    except Exception as unlogged:  # what failed first matters more
        _log.error("not logged: %s: %s", type(unlogged).__name__, unlogged)
    return row


def _again(hydra: HydraConf) -> list[str]:
    """Return flags and overrides that run the job again."""
    name = hydra.job.config_name
    other = [f"--config-name={name}"] if name not in (None, "evaluate") else []
    return [*config_flags(), *other, *hydra.overrides.task]


def _names(config: DictConfig, choices: dict[str, str]) -> dict[str, str]:
    """Return the names that tables pivot on: Hydra's choices, and those of data and model."""
    names = {name: str(choices.get(name, "")) for name in CELL}
    surrogate = config.threat.get("surrogate_model")
    return names | {
        "data": config.data.name,
        "model": config.model.name,
        "objective": config.objective.name,
        "surrogate": "" if surrogate is None else surrogate.name,
    }
