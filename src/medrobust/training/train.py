"""Training of one victim, from its parts to its checkpoint."""

import logging
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

from medrobust.data.base import MedicalDataModule
from medrobust.logger.base import CellLogger
from medrobust.model.checkpoint import VictimMeta, read_meta, save_victim
from medrobust.model.victim import Victim
from medrobust.objective.base import Objective
from medrobust.training.classifier import ClassifierModule
from medrobust.training.module import MakeOptimizer, MakeScheduler, TrainingModule
from medrobust.training.recipe import differences
from medrobust.training.segmenter import SegmenterModule

_log = logging.getLogger(__name__)

_MODULES: dict[str, type[TrainingModule]] = {
    "classification": ClassifierModule,
    "segmentation": SegmenterModule,
}
_VERSIONED = ("medrobust", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "timm")


class VictimExistsError(FileExistsError):
    """Another victim is where the trained one should go."""


class EmptyTrainingError(ValueError):
    """The settings leave nothing to train on."""


def train(
    *,
    model: Callable[[int], Victim],
    data: MedicalDataModule,
    objective: Objective,
    optimizer: MakeOptimizer,
    scheduler: MakeScheduler | None,
    trainer: Mapping[str, Any],
    logger: CellLogger,
    checkpoint: str | Path,
    recipe: Mapping[str, Any],
    seed: int,
    early_stopping: int | None = None,
    resume: str | None = "auto",
    overwrite: bool = False,
    deterministic: bool | Literal["warn"] = "warn",
    progress_bar: bool = True,
) -> VictimMeta:
    """Train a victim and write the weights of its best validation epoch.

    Args:
        model: number of classes -> untrained victim.
        data: what to train on.
        objective: what to minimise.
        optimizer: parameters -> optimizer.
        scheduler: optimizer -> scheduler, stepped once per epoch; None for a constant rate.
        trainer: arguments of Lightning's Trainer: accelerator, devices, precision, max_epochs, …
        logger: where the curves go.
        checkpoint: file for the victim; unfinished training lies beside it in `<name>.training`.
        recipe: resolved training config, see `recipe_of`.
        seed: decides initial weights and the order of the images.
        early_stopping: stop after so many epochs without a better score; None runs them all.
        resume: "auto" goes on from an interrupted training of this victim if there is one, None
            starts over, a path goes on from that Lightning checkpoint.
        overwrite: replace a victim that was trained before.
        deterministic: see Lightning's Trainer.
        progress_bar: show one.

    Returns:
        Where the victim comes from, with its scores. A victim of the same recipe and data that
        is there already is not trained again.

    Raises:
        VictimExistsError: a victim of another recipe or other data is there already.
        RecipeError: the checkpoint to resume from is of another recipe.
        FileNotFoundError: the checkpoint to resume from is not there.
        EmptyTrainingError: no epoch, or no whole batch for each device.
    """
    checkpoint = Path(checkpoint)
    recipe = {**recipe, "data_digest": data.manifest.digest}
    if checkpoint.exists() and not overwrite:
        return _reuse(checkpoint, recipe)

    pl.seed_everything(seed, workers=True, verbose=False)
    victim = model(data.num_classes)
    objective.prepare(data)
    module = _MODULES[data.task](
        victim,
        objective,
        data,
        optimizer=optimizer,
        scheduler=scheduler,
        seed=seed,
        recipe=recipe,
    )
    unfinished = checkpoint.with_suffix(".training")
    last = _resume_from(resume, unfinished / "last.ckpt")
    if last is None:
        shutil.rmtree(unfinished, ignore_errors=True)
    common: dict[str, Any] = {
        "dirpath": unfinished,
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    best = ModelCheckpoint(filename="best", monitor=module.score, mode="max", **common)
    # Not `save_last`, which writes only when the score was a new best. The last one comes second,
    # so that it knows of the best one.
    callbacks: list[Callback] = [best, ModelCheckpoint(filename="last", **common)]
    if early_stopping is not None:
        callbacks.append(EarlyStopping(module.score, mode="max", patience=early_stopping))
    runner = pl.Trainer(
        **trainer,
        logger=logger,
        callbacks=callbacks,
        deterministic=deterministic,
        enable_progress_bar=progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
    )
    logger.log_hyperparams(recipe)
    _log.info("training %s on %s (%d images)", recipe_name(recipe), data.key, _length(data))
    runner.fit(module, ckpt_path=last, weights_only=True)
    if runner.interrupted:
        raise KeyboardInterrupt(f"training stopped; the same command goes on from {unfinished}")

    if not best.best_model_path:
        raise EmptyTrainingError(
            f"no epoch was trained: {runner.num_training_batches} batches of {data.batch_size} "
            f"images per device, trainer.max_epochs={runner.max_epochs}; lower data.batch_size or "
            f"trainer.devices, or raise trainer.max_epochs"
        )

    seconds, epochs = module.seconds, runner.current_epoch
    chosen = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(chosen["state_dict"])
    scores: dict[str, float] = {}
    for run in (runner.validate, runner.test):
        for found in run(module, verbose=False):
            scores |= {name: float(value) for name, value in found.items()}
    meta = VictimMeta(
        data=data.name,
        data_key=data.key,
        data_digest=data.manifest.digest,
        phantom=data.phantom,
        task=data.task,
        classes=list(data.classes),
        seed=seed,
        epochs=epochs,
        best_epoch=int(chosen["epoch"]),
        scores=scores,
        seconds=seconds,
        recipe=dict(recipe),
        versions={name: version(name) for name in _VERSIONED},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    if runner.is_global_zero:
        save_victim(checkpoint, victim, meta)
        shutil.rmtree(unfinished)
        _report(checkpoint, meta, "trained")
    runner.strategy.barrier("victim saved")
    logger.finish()
    return meta


def recipe_name(recipe: Mapping[str, Any]) -> str:
    """`model/objective` of a recipe, for messages."""
    return "/".join(str(recipe.get(part, {}).get("name", "?")) for part in ("model", "objective"))


def _length(data: MedicalDataModule) -> int:
    return len(data.dataset("train"))


def _reuse(checkpoint: Path, recipe: Mapping[str, Any]) -> VictimMeta:
    meta = read_meta(checkpoint)
    changed = differences(meta.recipe, recipe)
    if changed:
        raise VictimExistsError(
            f"{checkpoint} was trained with another recipe:\n  "
            + "\n  ".join(changed)
            + "\nreplace it with overwrite=true, or write elsewhere with checkpoint=PATH"
        )
    _report(checkpoint, meta, "already trained with this recipe on these data")
    return meta


def _resume_from(resume: str | None, last: Path) -> Path | None:
    if resume is None:
        return None
    if resume == "auto":
        return last if last.exists() else None
    if not Path(resume).exists():
        raise FileNotFoundError(f"resume={resume}: no such file; expected auto, null or a .ckpt")
    return Path(resume)


def _report(checkpoint: Path, meta: VictimMeta, how: str) -> None:
    _log.info(
        "%s (best epoch %d of %d, %.0f s)", how, meta.best_epoch + 1, meta.epochs, meta.seconds
    )
    for name, value in meta.scores.items():
        _log.info("%-24s %.4f", name, value)
    _log.info("victim: %s", checkpoint)
