"""One training, from its module to the checkpoint of its best epoch."""

import logging
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint

from medrobust.checkpoint import TrainingMeta
from medrobust.data.base import MedicalDataModule
from medrobust.logger.base import CellLogger
from medrobust.training.recipe import differences
from medrobust.training.seeded import SeededModule

_log = logging.getLogger(__name__)

_VERSIONED = ("medrobust", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "timm")

Meta = TypeVar("Meta", bound=TrainingMeta)


class AlreadyTrainedError(FileExistsError):
    """Something trained by another recipe is where the result should go."""


class EmptyTrainingError(ValueError):
    """The settings leave nothing to train on."""


class Run(TypedDict, total=False):
    """How a training runs, whatever it trains.

    Attributes:
        trainer: arguments of Lightning's Trainer: accelerator, devices, precision, max_epochs, …
        logger: where the curves go.
        early_stopping: stop after so many epochs without a better score; None runs them all.
        resume: "auto" goes on from an interrupted training of this checkpoint if there is one,
            None starts over, a path goes on from that Lightning checkpoint.
        deterministic: see Lightning's Trainer.
        progress_bar: show one.
    """

    trainer: Mapping[str, Any]
    logger: CellLogger
    early_stopping: int | None
    resume: str | None
    deterministic: bool | Literal["warn"]
    progress_bar: bool


def reuse(
    checkpoint: Path, recipe: Mapping[str, Any], read_meta: Callable[[Path], Meta]
) -> Meta | None:
    """What was trained before at a path, None when nothing was.

    Raises:
        AlreadyTrainedError: it was trained by another recipe or on other data.
    """
    if not checkpoint.exists():
        return None
    meta = read_meta(checkpoint)
    changed = differences(meta.recipe, recipe)
    if changed:
        raise AlreadyTrainedError(
            f"{checkpoint} was trained with another recipe:\n  "
            + "\n  ".join(changed)
            + "\nreplace it with overwrite=true, or write elsewhere with checkpoint=PATH"
        )
    _report(checkpoint, meta, "already trained with this recipe on these data")
    return meta


def run(
    module: SeededModule,
    *,
    title: str,
    data: MedicalDataModule,
    checkpoint: Path,
    recipe: Mapping[str, Any],
    seed: int,
    make_meta: Callable[..., Meta],
    keep: Callable[[Meta], None],
    seconds_before: float = 0.0,
    trainer: Mapping[str, Any],
    logger: CellLogger,
    early_stopping: int | None = None,
    resume: str | None = "auto",
    deterministic: bool | Literal["warn"] = "warn",
    progress_bar: bool = True,
) -> Meta:
    """Train a module and keep the weights of its best validation epoch.

    Args:
        module: what is trained; it holds the best epoch's weights afterwards.
        title: what is trained, for the log.
        data: what it trains on.
        checkpoint: file that `keep` writes; unfinished training lies beside it in
            `<name>.training`.
        recipe: resolved training config.
        seed: of the training.
        make_meta: fields of `TrainingMeta` -> where the weights come from.
        keep: writes the checkpoint.
        seconds_before: spent in training what this one starts from.
        trainer: see `Run`, for this and what follows.
        logger: …
        early_stopping: …
        resume: …
        deterministic: …
        progress_bar: …

    Raises:
        RecipeError: the checkpoint to resume from is of another recipe.
        FileNotFoundError: the checkpoint to resume from is not there.
        EmptyTrainingError: no epoch, or no whole batch for each device.
    """
    unfinished = checkpoint.with_suffix(".training")
    last = _resume_from(resume, unfinished / "last.ckpt")
    if last is None:
        shutil.rmtree(unfinished, ignore_errors=True)
    common: dict[str, Any] = {
        "dirpath": unfinished,
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    best = ModelCheckpoint(filename="best", monitor=module.score, mode=module.mode, **common)
    # Not `save_last`, which writes only when the score was a new best. The last one comes second,
    # so that it knows of the best one.
    callbacks: list[Callback] = [best, ModelCheckpoint(filename="last", **common)]
    if early_stopping is not None:
        callbacks.append(EarlyStopping(module.score, mode=module.mode, patience=early_stopping))
    runner = pl.Trainer(
        **trainer,
        logger=logger,
        callbacks=callbacks,
        deterministic=deterministic,
        enable_progress_bar=progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        inference_mode=False,  # measures may attack, which takes gradients
        log_every_n_steps=10,
    )
    logger.log_hyperparams(dict(recipe))
    _log.info("training %s on %s (%d images)", title, data.key, len(data.dataset("train")))
    runner.fit(module, ckpt_path=last, weights_only=True)
    if runner.interrupted:
        raise KeyboardInterrupt(f"training stopped; the same command goes on from {unfinished}")

    if not best.best_model_path:
        raise EmptyTrainingError(
            f"no epoch was trained: {runner.num_training_batches} batches of {data.batch_size} "
            f"images per device, trainer.max_epochs={runner.max_epochs}; lower data.batch_size or "
            f"trainer.devices, or raise trainer.max_epochs"
        )

    seconds, epochs = seconds_before + module.seconds, runner.current_epoch
    chosen = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(chosen["state_dict"])
    scores: dict[str, float] = {}
    for measure in (runner.validate, runner.test):
        for found in measure(module, verbose=False):
            scores |= {name: float(value) for name, value in found.items()}
    meta = make_meta(
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
        keep(meta)
        shutil.rmtree(unfinished)
        _report(checkpoint, meta, "trained")
    runner.strategy.barrier("checkpoint saved")
    logger.finish()
    return meta


def _resume_from(resume: str | None, last: Path) -> Path | None:
    if resume is None:
        return None
    if resume == "auto":
        return last if last.exists() else None
    if not Path(resume).exists():
        raise FileNotFoundError(f"resume={resume}: no such file; expected auto, null or a .ckpt")
    return Path(resume)


def _report(checkpoint: Path, meta: TrainingMeta, how: str) -> None:
    _log.info(
        "%s (best epoch %d of %d, %.0f s)", how, meta.best_epoch + 1, meta.epochs, meta.seconds
    )
    for name, value in meta.scores.items():
        _log.info("%-24s %.4f", name, value)
    _log.info("weights: %s", checkpoint)
