"""Training of one defense, from its parts to its checkpoint."""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack

import pytorch_lightning as pl
from torch import Tensor, nn

from medrobust.data.core.base import MedicalDataModule, Sample
from medrobust.defense.core.base import Defense
from medrobust.defense.core.checkpoint import DefenseMeta, read_meta, save_defense
from medrobust.defense.core.learned import Learned, learners
from medrobust.model.core.victim import Victim
from medrobust.training.checkpoint_path import train_once
from medrobust.training.run import Run, run
from medrobust.training.seeded import MakeOptimizer, MakeScheduler, SeededModule

_log = logging.getLogger(__name__)


class NothingToTrainError(TypeError):
    """Raised when a defense has no weights to train, or several parts with weights."""


@dataclass(frozen=True)
class TrainingSetup:
    """The setup of a defense's training, passed through to `DefenseModule`.

    Attributes:
        data: train, val and test batches.
        optimizer: parameters -> optimizer.
        scheduler: optimizer -> scheduler, stepped once per epoch; None for a constant rate.
        seed: the run's seed.
        recipe: resolved training config; a checkpoint of another recipe is refused.
        victim: frozen victim; None for a defense without one.
    """

    data: MedicalDataModule
    optimizer: MakeOptimizer
    scheduler: MakeScheduler | None
    seed: int
    recipe: Mapping[str, Any]
    victim: Victim | None = None


class DefenseModule(SeededModule):
    """Training loop of a defense, which adds its loss and its measures.

    Networks that are trained with the defense but not deployed (a critic) are members of the
    module, and part of the checkpoints from which a training is resumed.

    Args:
        defense: defense whose networks are built.
        setup: setup of the training.
    """

    scored: ClassVar[str] = "loss"
    mode: ClassVar[Literal["max", "min"]] = "min"

    def __init__(self, defense: Learned, setup: TrainingSetup) -> None:
        super().__init__(
            setup.data,
            optimizer=setup.optimizer,
            scheduler=setup.scheduler,
            seed=setup.seed,
            recipe=setup.recipe,
        )
        self.defense = defense
        self.victim = setup.victim

    @property
    def queries(self) -> int:
        """Return the queries to a victim that is a black box in training."""
        return 0

    @abstractmethod
    def loss(self, batch: Sample) -> Tensor:
        """Compute the loss, a scalar; torch's generator is seeded for the epoch."""

    def measure(self, batch: Sample) -> dict[str, Tensor]:
        """Return scalars of a batch, logged as means over a split, including `scored`.

        Gradients are off, but not by inference mode: `torch.enable_grad` turns them on.
        """
        return {"loss": self.loss(batch)}

    def trained(self) -> Iterable[nn.Parameter]:
        """Return the defense's weights."""
        return self.defense.parameters()

    def train(self, mode: bool = True) -> "DefenseModule":
        """Set the training mode of the defense; the victim stays in evaluation mode."""
        super().train(mode)
        if self.victim is not None:
            self.victim.eval()
        return self

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor | None:
        """Compute the loss of a batch."""
        return self.note_loss(self.loss(batch), batch, batch_idx)

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Measure a batch of the validation split."""
        self._measure("val", batch, prog_bar=True)

    def test_step(self, batch: Sample, batch_idx: int) -> None:
        """Measure a batch of the test split."""
        self._measure("test", batch, prog_bar=False)

    def _measure(self, split: str, batch: Sample, *, prog_bar: bool) -> None:
        found = {f"{split}/{name}": value for name, value in self.measure(batch).items()}
        size = len(batch.image)
        self.log_dict(found, on_step=False, on_epoch=True, prog_bar=prog_bar, batch_size=size)


def train_defense(
    *,
    defense: Callable[[], Defense],
    victim: Callable[[], Victim],
    data: MedicalDataModule,
    optimizer: MakeOptimizer,
    scheduler: MakeScheduler | None,
    checkpoint: str | Path,
    recipe: Mapping[str, Any],
    seed: int,
    overwrite: bool = False,
    **how: Unpack[Run],
) -> DefenseMeta:
    """Train a defense and write the weights of its best validation epoch.

    Args:
        defense: builds the untrained defense; if only a part of it learns, that part is trained.
        victim: loads the victim; called for a defense that needs one.
        data: training data.
        optimizer: parameters -> optimizer.
        scheduler: optimizer -> scheduler, stepped once per epoch; None for a constant rate.
        checkpoint: file for the weights; an unfinished training is next to it in `<name>.training`.
        recipe: resolved training config, see `recipe_of`; defense, data and victim are added.
        seed: seed of the initial weights and the order of the images.
        overwrite: replace an existing checkpoint.
        how: see `Run`.

    Returns:
        The provenance of the weights, with their scores. An existing defense of the same recipe and
        data is not trained again.

    Raises:
        NothingToTrainError: the defense has no weights, or several parts have.
        AlreadyTrainedError: a checkpoint of another recipe or other data already exists.
        RecipeError: the checkpoint to resume from is of another recipe.
        FileNotFoundError: the checkpoint to resume from does not exist.
        EmptyTrainingError: there is no epoch, or no whole batch for each device.
    """
    learned = _learner(defense())
    checkpoint = Path(checkpoint)
    before = victim() if learned.needs_victim else None
    fingerprint = "" if before is None else before.fingerprint
    settings = learned.training_settings
    recipe = {
        **recipe,
        "defense": settings,
        "data_digest": data.manifest.digest,
        "victim": fingerprint,
    }

    def make() -> DefenseMeta:
        pl.seed_everything(seed, workers=True, verbose=False)
        if before is not None:
            learned.inspect_victim(before, data)
        learned.build(data.channels)
        setup = TrainingSetup(data, optimizer, scheduler, seed, recipe, before)
        module = learned.training_module(setup)
        meta = run(
            module,
            title=learned.name,
            data=data,
            checkpoint=checkpoint,
            recipe=recipe,
            seed=seed,
            make_meta=lambda **fields: DefenseMeta(
                **fields, victim=fingerprint, queries=module.queries
            ),
            keep=lambda meta: save_defense(checkpoint, settings, learned.state_dict(), meta),
            **how,
        )
        for remark in learned.remarks(meta):
            _log.warning("%s", remark)
        return meta

    return train_once(
        make, checkpoint=checkpoint, recipe=recipe, read_meta=read_meta, overwrite=overwrite
    )


def nothing_to_train(name: str) -> NothingToTrainError:
    """Return the error of a defense without weights.

    Args:
        name: choice or class of the defense.
    """
    return NothingToTrainError(
        f"defense={name} has nothing to train, expected one with weights such as comdefend; use it "
        "directly: medrobust evaluate defense=…"
    )


def _learner(defense: Defense) -> Learned:
    """Return the defense itself, or the only part of it that learns."""
    found = learners(defense)
    if not found:
        raise nothing_to_train(type(defense).__name__)
    if len(found) > 1:
        names = ", ".join(part.name for part in found)
        raise NothingToTrainError(
            f"{type(defense).__name__} has several parts to train ({names}): train each separately"
        )
    return found[0]
