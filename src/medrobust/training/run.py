"""One training, from its module to the checkpoint of its best epoch."""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from medrobust.data.core.base import MedicalDataModule
from medrobust.devices import check_devices
from medrobust.logger.base import CellLogger
from medrobust.training.checkpoint_path import Meta, remove, report, unfinished
from medrobust.training.seeded import SeededModule
from medrobust.training.snapshot import SnapshotError, Snapshots, read_snapshot, resume_from

_log = logging.getLogger(__name__)

_VERSIONED = ("medrobust", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "timm")
_FLOAT32 = ("32", "32-true", "16", "16-mixed", "bf16", "bf16-mixed")


class EmptyTrainingError(ValueError):
    """Raised when the settings leave nothing to train on."""


class Run(TypedDict, total=False):
    """Settings of every training.

    Attributes:
        trainer: arguments of Lightning's Trainer: accelerator, devices, precision, max_epochs, …
        logger: logger of the training curves.
        early_stopping: patience in epochs without a better score; None for no early stopping.
        resume: "auto" resumes an interrupted training of this checkpoint if there is one, None
            starts over, a path resumes that Lightning checkpoint.
        deterministic: see Lightning's Trainer.
        progress_bar: show a progress bar.
    """

    trainer: Mapping[str, Any]
    logger: CellLogger
    early_stopping: int | None
    resume: str | None
    deterministic: bool | Literal["warn"]
    progress_bar: bool


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
        module: training loop; it holds the best epoch's weights afterwards.
        title: title of the training, for the log.
        data: training data.
        checkpoint: file that `keep` writes; an unfinished training is next to it in
            `<name>.training`.
        recipe: resolved training config.
        seed: seed of the training.
        make_meta: fields of `TrainingMeta` -> provenance of the weights.
        keep: writes the checkpoint.
        seconds_before: training time of the initial checkpoint, in seconds.
        trainer: see `Run`, also for the following.
        logger: see `Run`.
        early_stopping: see `Run`.
        resume: see `Run`.
        deterministic: see `Run`.
        progress_bar: see `Run`.

    Raises:
        RecipeError: the checkpoint to resume from is of another recipe.
        FileNotFoundError: the checkpoint to resume from does not exist.
        SnapshotError: that checkpoint, or the best epoch's, is damaged.
        EmptyTrainingError: there is no epoch, or no whole batch for each device.
        ValueError: the precision keeps weights in another type than float32.
        DevicesError: there are more processes than processors.
    """
    _check_precision(trainer.get("precision", "32-true"))
    check_devices(trainer.get("accelerator", "auto"), trainer.get("devices", "auto"))
    folder = unfinished(checkpoint)
    last = resume_from(resume, folder)
    if last is None or folder.resolve() not in last.resolve().parents:
        _start_over(folder)
    common: dict[str, Any] = {
        "dirpath": folder,
        "save_on_train_epoch_end": True,
        "enable_version_counter": False,
    }
    best = ModelCheckpoint(filename="best", monitor=module.score, mode=module.mode, **common)
    # Not `save_last`, which writes only after a new best score. The last comes second, so that it
    # includes the state of the best.
    callbacks: list[Callback] = [best, ModelCheckpoint(filename="last", **common)]
    if early_stopping is not None:
        callbacks.append(EarlyStopping(module.score, mode=module.mode, patience=early_stopping))
    runner = _trainer(
        trainer,
        logger=logger,
        callbacks=callbacks,
        plugins=[Snapshots()],
        deterministic=deterministic,
        enable_progress_bar=progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        inference_mode=False,  # measures may attack, which needs gradients
        log_every_n_steps=10,
    )
    logger.log_hyperparams(dict(recipe))
    _log.info("training %s on %s (%d images)", title, data.key, len(data.dataset("train")))
    runner.fit(module, ckpt_path=last, weights_only=True)
    if runner.interrupted:
        raise KeyboardInterrupt(f"training stopped; the same command resumes from {folder}")

    if not best.best_model_path:
        raise EmptyTrainingError(
            f"no epoch was trained: {runner.num_training_batches} batches of {data.batch_size} "
            f"images per device, trainer.max_epochs={runner.max_epochs}; lower data.batch_size or "
            f"trainer.devices, or raise trainer.max_epochs"
        )

    seconds, epochs = seconds_before + module.seconds, runner.current_epoch
    chosen = _best_epoch(Path(best.best_model_path), module)
    module.load_state_dict(chosen["state_dict"])
    scores: dict[str, float] = {}
    for measure in (runner.validate, runner.test):
        for found in measure(module, verbose=False):
            scores |= {name: float(value) for name, value in found.items() if isfinite(value)}
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
        remove(folder)
        report(checkpoint, meta, "trained")
    runner.strategy.barrier("checkpoint saved")
    logger.finish()
    return meta


def _trainer(settings: Mapping[str, Any], **fixed: Any) -> pl.Trainer:
    """Return Lightning's Trainer.

    Raises:
        ValueError: Lightning refuses the settings.
    """
    try:
        return pl.Trainer(**settings, **fixed)
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise ValueError(
            f"the keys under trainer, {dict(settings)}, are not what Lightning's Trainer expects: "
            f"{' '.join(str(error).split())}; change or leave out the key that it names"
        ) from error


@rank_zero_only
def _start_over(folder: Path) -> None:
    """Remove an earlier unfinished training, once, before other processes start."""
    remove(folder)


def _best_epoch(path: Path, module: SeededModule) -> dict[str, Any]:
    """Return the snapshot of the best epoch of this training.

    Raises:
        SnapshotError: the snapshot is missing, damaged, or of another training.
    """
    if not path.exists():
        raise SnapshotError(
            f"{path} with the best epoch's weights is missing; start over with resume=null"
        )
    found = read_snapshot(path)
    if (found.get("recipe"), found.get("run")) != (module.recipe_digest, module.run_id):
        raise SnapshotError(
            f"{path} is the best epoch of another training, expected run {module.run_id}; start "
            f"over with resume=null"
        )
    return found


def _check_precision(precision: Any) -> None:
    """Check that weights are kept in float32, the type of checkpoints.

    Raises:
        ValueError: the precision keeps them in another type.
    """
    if str(precision) not in _FLOAT32:
        raise ValueError(
            f"trainer.precision={precision} keeps the weights in another type than float32, which "
            f"checkpoints hold; set trainer.precision=32-true, 16-mixed or bf16-mixed"
        )
