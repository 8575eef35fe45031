"""One cell, from a composed config to its row: skipped, computed, or failed by itself."""

import logging
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medrobust.attack.core.base import Attack
from medrobust.cache.tensors import TensorCache
from medrobust.code.package import package_digest
from medrobust.configured import all_code, digests, outside, unsourced
from medrobust.defense.core.base import Defense
from medrobust.defense.core.detector import Detector
from medrobust.defense.core.learned import learners, training_queries, training_seconds
from medrobust.evaluation import build
from medrobust.evaluation.adversarial import training_digest
from medrobust.evaluation.evaluate import evaluate
from medrobust.evaluation.identity.provenance import changed, revision, versions
from medrobust.evaluation.identity.scientific import global_keys, scientific_config, unresolved
from medrobust.evaluation.known import is_complete, known_row
from medrobust.evaluation.record.iterates import IteratesRequest
from medrobust.evaluation.record.maps import MapsRequest
from medrobust.evaluation.record.pictures import sheet, strips
from medrobust.fingerprint import digest
from medrobust.keys import EVALUATE
from medrobust.logger.cell import kept_pictures, log_cell
from medrobust.result.per_image import PerImage
from medrobust.result.picture import write_picture
from medrobust.result.row import CELL, Row
from medrobust.result.sealed import write_note
from medrobust.result.stale import code_flags, unsourced_flags
from medrobust.result.store import RowStore
from medrobust.target import by_name
from medrobust.threat.base import Threat
from medrobust.training.command import defense_command, train_command
from medrobust.typed import check_config

_log = logging.getLogger(__name__)

FORMAT = 2


def run_cell(config: DictConfig) -> float | None:
    """Run the cell of a composed config, or skip it when its row is there.

    In a sweep a failure becomes a `failed` row and the next cell goes on; alone it is raised.

    Args:
        config: what `conf/evaluate.yaml` composes to.

    Returns:
        The value of `table.metric`, for sweepers that optimise; None when the cell failed.
    """
    job = HydraConfig.get()
    store = RowStore(config.paths.rows)
    folder = Path(job.runtime.output_dir)
    overrides = list(job.overrides.task)
    choices = {name: str(choice) for name, choice in job.runtime.choices.items()}
    try:
        science, cell = scientific_config(config), _cell(config, choices)
    except (OmegaConfBaseException, KeyError):  # `check_config` says what is wrong
        science = unresolved(config)
        cell = {name: choices.get(name, "") for name in CELL}
    # Names the failure of a cell that got no further than its config.
    failure_id = digest(["failed", cell, by_name(science)])
    try:
        check_config(config, EVALUATE)
        row, status = _row(config, store, cell, science, overrides)
    except Exception as caught:
        # Hydra wraps what a constructor raises; its cause is what a person can mend.
        wrapped = caught.__cause__ if isinstance(caught, InstantiationException) else None
        error = wrapped or caught
        row = Row(
            id=failure_id,
            status="failed",
            cell=cell,
            attack_variant=science["attack"],
            defense_variant=science["defense"],
            seed=seed if isinstance(seed := OmegaConf.select(config, "seed"), int) else 0,
            phantom=OmegaConf.select(config, "data.phantom") is True,
            versions=versions(),
            revision=revision(),
            created=_now(),
            config=science,
            overrides=overrides,
            error="".join(traceback.format_exception(error)),
        )
        store.put(row)
        _note(folder, row, "failed", overrides, store)
        try:
            log_cell(instantiate(config.logger), row, {})
        except Exception as unlogged:  # what failed first matters more
            _log.error("not logged: %s: %s", type(unlogged).__name__, unlogged)
        if job.mode != RunMode.MULTIRUN:
            raise error from None
        _log.error("failed: %s: %s (row %s)", type(error).__name__, error, row.id[:12])
        return None
    store.path(failure_id).unlink(missing_ok=True)
    _note(folder, row, status, overrides, store)
    if status == "skipped":  # so that the logger has every cell of the sweep
        log_cell(instantiate(config.logger), row, kept_pictures(store.picture(row.id)))
    name, *_ = config.table.get("metrics") or [config.table.metric]
    interval = row.intervals.get(name, [float("nan")] * 2)
    value = row.metrics.get(name)
    _log.info(
        "%s: %s = %s [%.4f, %.4f], n = %d%s%s",
        status,
        name,
        "not defined here" if value is None else f"{value:.4f}",
        *interval,
        row.n,
        " PHANTOM" if row.phantom else "",
        "".join(f"\n  flag: {flag}" for flag in (*row.flags, *code_flags(row, package_digest()))),
    )
    return value


def _row(
    config: DictConfig,
    store: RowStore,
    cell: dict[str, str],
    science: dict[str, Any],
    overrides: list[str],
) -> tuple[Row, str]:
    start = time.perf_counter()
    device, shards = build.devices_of(config.trainer)
    data, clean = build.data_and_images(config)
    choices = dict(HydraConfig.get().runtime.choices)
    command = train_command(choices, overrides, config.victim_seed)
    victim = build.victim_of(config, data, command, device)
    today = package_digest()  # before anything can be edited while the cell runs
    defense = build.made(config.defense, Defense, "defense").to(device)  # type: ignore[type-abstract]
    for learned in learners(defense):
        of_victim = config.victim_seed if learned.needs_victim else None
        learned.train_command = defense_command(choices, overrides, learned.seed, of_victim)
    if config.rerun is True:
        for part in defense.modules():
            if isinstance(part, Detector):
                part.fits = None  # learned anew
    defense.fit(victim, data)
    threat = build.made(config.threat, Threat, "threat")  # type: ignore[type-abstract]
    surrogate = build.in_precision(threat(victim, defense), config.precision)
    attack = build.made(config.attack, Attack, "attack")  # type: ignore[type-abstract]
    fingerprints = {
        "victim": victim.fingerprint,
        "victim_code": digest(digests(victim.computed_by)),
        "threat_code": digest(threat.code_digests()),
        "surrogate": surrogate.identity,
        "attack": attack.fingerprint,
        "defense": defense.fingerprint,
        "images": clean.digest,
        "data": data.manifest.digest,
    }
    if attack.learns:
        fingerprints["training_images"] = training_digest(data)
    keys = global_keys(config)
    code = all_code(victim, threat, surrogate, attack, defense)
    lost = unsourced(code)
    # What has no source is told apart by its config alone.
    row_id = digest([FORMAT, cell, fingerprints, keys, by_name(science) if lost else None])
    maps = MapsRequest.parse(config.maps)
    if maps is not None:
        maps.check(victim)
    iterates = IteratesRequest.parse(config.iterates)
    if iterates is not None:
        iterates.check(attack)
    known = known_row(store, row_id, rerun=config.rerun, unsourced=lost)
    if known is not None and is_complete(store, row_id, maps, iterates):
        return known, "skipped"
    cache = TensorCache(config.paths.cache, replay=config.rerun is not True)
    with cache.in_use(), store.lock(row_id):
        # another sweep did it meanwhile
        known = known_row(store, row_id, rerun=config.rerun, unsourced=lost)
        if known is not None and is_complete(store, row_id, maps, iterates):
            return known, "skipped"
        result = evaluate(
            victim=victim,
            defense=defense,
            surrogate=surrogate,
            attack=attack,
            clean=clean,
            classes=data.num_classes,
            seed=config.seed,
            quantize=config.quantize,
            batch_size=config.batch_size,
            device=device,
            cache=cache,
            shards=shards,
            data=data,
            perturbation=config.perturbation,
        )
        if maps is not None:  # before the row: a finished one has them
            made = maps.record(
                *(victim, defense, clean, result.attacked.images, result.before, result.after),
                classes=data.classes,
                seed=config.seed,
                device=device,
            )
            made.write(store.maps(row_id))
        if iterates is not None:
            seen = iterates.record(
                *(surrogate, attack, clean), seed=config.seed, device=device, data=data
            )
            seen.write(store.iterates(row_id))
        if result.scores is not None:
            result.scores.write(store.scores(row_id))
        if result.measured.per_image is not None:
            PerImage(clean.ids, result.measured.per_image).write(store.per_image(row_id))
        pictures = strips(
            *(clean, result.attacked.images, defense.cpu()),
            seed=config.seed,
            answers=(result.before, result.after),
        )
        # Before the row: a finished one has it.
        write_picture(store.picture(row_id), sheet(pictures))
        if known is not None:  # it lacked only files beside it; its answers came from the cache
            return known, "skipped"
        row = Row(
            id=row_id,
            status="done",
            cell=cell,
            attack_variant=attack.settings,
            defense_variant=defense.settings,
            n=len(clean),
            seed=config.seed,
            phantom=data.phantom,
            metrics=result.measured.values | _asked(defense),
            intervals=result.measured.intervals,
            checks=result.checks,
            flags=[*result.flags, *unsourced_flags(lost)],
            seconds=result.seconds
            | {
                "training": victim.meta.seconds + training_seconds(defense),
                "total": time.perf_counter() - start,
            },
            confusion=result.measured.confusion,
            clean_confusion=result.measured.clean_confusion,
            classes=list(data.classes),
            fingerprints=fingerprints | result.keys,
            versions=versions(),
            revision=revision(),
            code={
                "package": today,
                "outside": outside(code),
                "changed": list(changed()),
            },
            created=_now(),
            config=science | {"victim": victim.meta.recipe},
            overrides=overrides,
        )
        store.put(row)
    log_cell(instantiate(config.logger), row, pictures)
    return row, "done"


def _asked(defense: Defense) -> dict[str, float]:
    """Queries of the training of a defense for which the victim was a black box."""
    queries = training_queries(defense)
    return {"training_queries": float(queries)} if queries else {}


def _cell(config: DictConfig, choices: dict[str, str]) -> dict[str, str]:
    """Names that tables pivot on: Hydra's choices, and the names that data and model bear."""
    names = {name: str(choices.get(name, "")) for name in CELL}
    surrogate = config.threat.get("surrogate_model")
    return names | {
        "data": config.data.name,
        "model": config.model.name,
        "objective": config.objective.name,
        "surrogate": "" if surrogate is None else surrogate.name,
    }


def _note(folder: Path, row: Row, status: str, overrides: list[str], store: RowStore) -> None:
    """Leave in the job's folder which row this job stands for."""
    note = {
        "row": row.id,
        "status": status,
        "overrides": overrides,
        "rows": str(store.folder.resolve()),
    }
    write_note(folder / "cell.json", note)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
