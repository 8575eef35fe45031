"""The base class of training loops: batches by seed and epoch, timing, and resuming."""

import secrets
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from medrobust.data.core.base import MedicalDataModule, Sample
from medrobust.fingerprint import digest
from medrobust.rng import sample_seeds

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]


class RecipeError(ValueError):
    """Raised when a training checkpoint belongs to another recipe."""


class SeededModule(pl.LightningModule):
    """Training loop whose random numbers in each epoch depend only on (seed, epoch).

    A resumed training therefore equals an uninterrupted one. The exception is augmentation with
    `data.workers` above 0, whose random numbers come from the loader's processes.

    Args:
        data: train, val and test batches.
        optimizer: parameters -> optimizer.
        scheduler: optimizer -> scheduler, stepped once per epoch; None for a constant rate.
        seed: the run's seed.
        recipe: resolved training config; a checkpoint of another recipe is refused.
    """

    scored: ClassVar[str]  # metric that selects the best epoch
    mode: ClassVar[Literal["max", "min"]] = "max"  # direction of the best value

    def __init__(
        self,
        data: MedicalDataModule,
        *,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler | None,
        seed: int,
        recipe: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._data = data
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        self._seed = seed
        self.recipe_digest = digest(dict(recipe))
        self.run_id: str | None = secrets.token_hex(8)  # None: resumed from an older version
        self._seconds_before = 0.0
        self._first_epoch = 0
        self._began = time.perf_counter()

    @property
    def score(self) -> str:
        """Return the validation score that selects the best epoch."""
        return f"val/{self.scored}"

    @abstractmethod
    def trained(self) -> Iterable[nn.Parameter]:
        """Return the weights that the optimizer updates."""

    def configure_optimizers(self) -> Any:
        """Return the optimizer, with a scheduler per epoch if there is one."""
        optimizer = self._make_optimizer(self.trained())
        if self._make_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self._make_scheduler(optimizer)}

    def note_loss(self, loss: Tensor, batch: Sample, batch_idx: int) -> Tensor:
        """Log the training loss of a batch and return it.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"training loss is {loss.item()} in epoch {self.current_epoch}, batch {batch_idx}; "
                f"lower optimizer.lr, or set trainer.precision=32-true"
            )
        size = len(batch.image)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size)
        return loss

    # Batches, in an order that depends only on seed and epoch --------------------------------

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return shuffled training batches, seeded for the first or resumed epoch."""
        self._reseed(self._first_epoch)
        return self._data.train_dataloader()

    def val_dataloader(self) -> DataLoader[Sample]:
        """Return the validation batches."""
        return self._data.val_dataloader()

    def test_dataloader(self) -> DataLoader[Sample]:
        """Return the test batches."""
        return self._data.test_dataloader()

    def on_train_epoch_end(self) -> None:
        """Seed the next epoch."""
        epoch_seed = self._reseed(self.current_epoch + 1)
        loader = self.trainer.train_dataloader
        if isinstance(loader, DataLoader) and loader.generator is not None:
            loader.generator.manual_seed(epoch_seed)

    def seeds(self, batch: Sample) -> Tensor:
        """Return the seed of each sample, int64 (N,), from the run's seed and its id."""
        # After collation, `id` is a sequence of ids.
        return sample_seeds(self._seed, batch.id, batch.image.device)

    def _reseed(self, epoch: int) -> int:
        epoch_seed = int(digest([self._seed, epoch])[:15], 16)
        torch.manual_seed(epoch_seed)
        return epoch_seed

    # Resuming --------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Return the training time in seconds, including that before an interruption."""
        return self._seconds_before + time.perf_counter() - self._began

    def on_train_start(self) -> None:
        """Start the clock, and share the run's id among its processes."""
        self._began = time.perf_counter()
        self.run_id = self.trainer.strategy.broadcast(self.run_id)  # that of process 0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add recipe, run and time to the checkpoint."""
        checkpoint["recipe"] = self.recipe_digest
        checkpoint["run"] = self.run_id
        checkpoint["seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore run and time, and refuse a checkpoint of another recipe."""
        if checkpoint.get("recipe") != self.recipe_digest:
            raise RecipeError(
                "the training checkpoint belongs to another recipe or data; resume with the config "
                "that it was started with, or start over with resume=null"
            )
        self.run_id = checkpoint.get("run")
        self._seconds_before = checkpoint["seconds"]
        # Checkpoints are written at the end of an epoch, before `current_epoch` is incremented.
        self._first_epoch = checkpoint["epoch"] + 1
