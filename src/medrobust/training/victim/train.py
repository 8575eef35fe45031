"""Training of one victim, from its parts to its checkpoint."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

import pytorch_lightning as pl
import torch

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.foreground import check_foreground
from medrobust.model.core.builder import check_architecture
from medrobust.model.core.checkpoint import VictimMeta, read_meta, save_victim
from medrobust.model.core.victim import Victim
from medrobust.objective.core.base import Objective
from medrobust.training.checkpoint_path import train_once
from medrobust.training.run import Run, run
from medrobust.training.seeded import MakeOptimizer, MakeScheduler
from medrobust.training.victim.box_detector import BoxDetectorModule
from medrobust.training.victim.classifier import ClassifierModule
from medrobust.training.victim.initial import load_initial, start_from
from medrobust.training.victim.module import TrainingModule
from medrobust.training.victim.segmenter import SegmenterModule

_MODULES: dict[str, type[TrainingModule]] = {
    "classification": ClassifierModule,
    "segmentation": SegmenterModule,
    "detection": BoxDetectorModule,
}
_NETWORK = {"classification": "resnet18, or another classifier", "segmentation": "unet"}


def train(
    *,
    model: Callable[[int], Victim],
    data: MedicalDataModule,
    objective: Objective,
    optimizer: MakeOptimizer,
    scheduler: MakeScheduler | None,
    checkpoint: str | Path,
    recipe: Mapping[str, Any],
    seed: int,
    initial_checkpoint: str | Path | None = None,
    overwrite: bool = False,
    **how: Unpack[Run],
) -> VictimMeta:
    """Train a victim and write the weights of its best validation epoch.

    Args:
        model: number of classes -> untrained victim.
        data: training data.
        objective: objective to minimise.
        optimizer: parameters -> optimizer.
        scheduler: optimizer -> scheduler, stepped once per epoch; None for a constant rate.
        checkpoint: file for the victim; an unfinished training is next to it in `<name>.training`.
        recipe: resolved training config, see `recipe_of`.
        seed: seed of the initial weights and the order of the images.
        initial_checkpoint: victim whose weights to start from; None for random or pretrained ones.
            Its fingerprint enters the recipe, and its training time is added.
        overwrite: replace an existing checkpoint.
        how: see `Run`.

    Returns:
        The provenance of the victim, with its scores. An existing victim of the same recipe and
        data is not trained again.

    Raises:
        AlreadyTrainedError: a checkpoint of another recipe or other data already exists.
        VictimError: the model is no network of this package, so it could not be loaded again.
        RecipeError: the checkpoint to resume from is of another recipe.
        FileNotFoundError: the checkpoint to resume from does not exist.
        EmptyTrainingError: there is no epoch, or no whole batch for each device.
        InitialCheckpointError: the initial checkpoint is missing, damaged, or another network.
        TypeError: model or objective are for another task than that of the data.
        DataError: all masks are empty.
    """
    checkpoint = Path(checkpoint)
    recipe = {**recipe, "data_digest": data.manifest.digest}
    initial = None if initial_checkpoint is None else load_initial(initial_checkpoint, data)
    if initial is not None:
        recipe["initial"] = initial.fingerprint

    def make() -> VictimMeta:
        pl.seed_everything(seed, workers=True, verbose=False)
        victim = model(data.num_classes)
        check_architecture(victim.architecture, "model")
        if initial is not None:
            start_from(initial, victim)
        _check_task(victim, objective, data)
        _check_answers(victim, data)
        check_foreground(data, "train")
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
        return run(
            module,
            title=recipe_name(recipe),
            data=data,
            checkpoint=checkpoint,
            recipe=recipe,
            seed=seed,
            make_meta=VictimMeta,
            keep=lambda meta: save_victim(checkpoint, victim, meta),
            seconds_before=0.0 if initial is None else initial.meta.seconds,
            **how,
        )

    return train_once(
        make, checkpoint=checkpoint, recipe=recipe, read_meta=read_meta, overwrite=overwrite
    )


def _check_task(victim: Victim, objective: Objective, data: MedicalDataModule) -> None:
    if data.task not in objective.tasks:
        raise TypeError(
            f"objective={objective.name} is for {' and '.join(objective.tasks)}, {data.name} is a "
            f"task of {data.task}; "
            + ("set objective=retinanet" if data.task == "detection" else "set objective=standard")
        )
    if (victim.anchors is not None) != (data.task == "detection"):
        wanted = {"detection": "retinanet", "segmentation": "unet", "classification": "resnet18"}
        raise TypeError(
            f"the model answers {'boxes' if victim.anchors else 'classes'}, {data.name} is a task "
            f"of {data.task}; set model={wanted[data.task]}"
        )


def _check_answers(victim: Victim, data: MedicalDataModule) -> None:
    """Check on one image that the victim's output matches the labels.

    Raises:
        TypeError: the labels are masks for a classifier, or classes for a segmenter.
    """
    if data.task not in _NETWORK:
        return
    sample = data.dataset("train")[0]
    training = victim.training
    with torch.no_grad():
        logits = victim.eval()(sample.image[None])
    victim.train(training)
    if logits.ndim - 2 == sample.label.ndim:
        return
    kinds = {0: "one answer per image", 2: "an answer per pixel"}
    raise TypeError(
        f"model={victim.architecture.get('name')} gives {kinds[logits.ndim - 2]}, but the labels "
        f"of {data.name} are for {data.task}; set model={_NETWORK[data.task]}"
    )


def recipe_name(recipe: Mapping[str, Any]) -> str:
    """Return `model/objective` of a recipe, for messages."""
    return "/".join(str(recipe.get(part, {}).get("name", "?")) for part in ("model", "objective"))
