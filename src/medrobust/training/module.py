"""What is trained: a victim, its objective, and the measures that choose the best epoch."""

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection

from medrobust.data.base import MedicalDataModule, Sample
from medrobust.fingerprint import digest
from medrobust.model.victim import Victim
from medrobust.objective.base import Objective
from medrobust.rng import fold_in, sample_seeds
from medrobust.threat.surrogate import VictimSurrogate

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]


class RecipeError(ValueError):
    """A training checkpoint belongs to another recipe."""


class TrainingModule(pl.LightningModule):
    """Training loop of a victim; a task adds its metrics, and names the one that scores an epoch.

    With an objective that has a validation attack, the score is measured under it, as
    `val/robust_<metric>`, beside the clean metrics.

    Every epoch draws its random numbers from (seed, epoch), so that a resumed training goes on
    exactly as one that was never interrupted. The objective's own numbers come from (seed, sample,
    epoch), those of the validation attack from (seed, sample). With `data.workers` > 0 and an
    augmentation, the loader's processes have random numbers of their own, and only they differ
    then.

    Args:
        victim: what is trained.
        objective: what is minimised.
        data: train, val and test batches.
        optimizer: parameters -> optimizer.
        scheduler: optimizer -> scheduler, stepped once per epoch; None for a constant rate.
        seed: the run's seed.
        recipe: resolved training config; a checkpoint of another recipe is refused.
    """

    scored: ClassVar[str]  # metric that the best epoch has the highest of

    def __init__(
        self,
        victim: Victim,
        objective: Objective,
        data: MedicalDataModule,
        *,
        optimizer: MakeOptimizer,
        scheduler: MakeScheduler | None,
        seed: int,
        recipe: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.victim = victim
        self.objective = objective
        self._data = data
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        self._seed = seed
        self._recipe = digest(dict(recipe))
        self._seconds_before = 0.0
        self._began = time.perf_counter()
        metrics = self.metrics(data.num_classes)
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")
        robust = (
            {f"robust_{self.scored}": metrics[self.scored]}
            if objective.validation is not None
            else {}
        )
        self.val_robust = MetricCollection(robust).clone(prefix="val/")
        self.test_robust = MetricCollection(robust).clone(prefix="test/")

    @property
    def score(self) -> str:
        """Validation score that the best epoch has the highest of."""
        clean = self.objective.validation is None
        return f"val/{self.scored}" if clean else f"val/robust_{self.scored}"

    @abstractmethod
    def metrics(self, num_classes: int) -> MetricCollection:
        """Metrics of (logits, labels) that are computed over a whole split."""

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        seeds = fold_in(self._seeds(batch), self.current_epoch)
        loss = self.objective.loss(self.victim, batch.image, batch.label, seeds=seeds)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"training loss is {loss.item()} in epoch {self.current_epoch}, batch {batch_idx}; "
                f"lower optimizer.lr, or set trainer.precision=32-true"
            )
        size = len(batch.image)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=size)
        return loss

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Measure a batch of the validation split."""
        self._measure(batch, self.val_metrics, self.val_robust, prog_bar=True)

    def test_step(self, batch: Sample, batch_idx: int) -> None:
        """Measure a batch of the test split."""
        self._measure(batch, self.test_metrics, self.test_robust, prog_bar=False)

    def _measure(
        self, batch: Sample, clean: MetricCollection, robust: MetricCollection, *, prog_bar: bool
    ) -> None:
        x, y = batch.image, batch.label
        clean.update(self.victim(x), y)
        self.log_dict(clean, on_epoch=True, prog_bar=prog_bar, batch_size=len(x))
        if self.objective.validation is not None:
            surrogate = VictimSurrogate(self.victim)
            attacked = self.objective.validation(surrogate, x, y, seeds=self._seeds(batch))
            robust.update(self.victim(attacked), y)
            self.log_dict(robust, on_epoch=True, prog_bar=prog_bar, batch_size=len(x))

    def _seeds(self, batch: Sample) -> Tensor:
        # After collation the id is a sequence of them.
        return sample_seeds(self._seed, batch.id, batch.image.device)

    def configure_optimizers(self) -> Any:
        """Optimizer, and scheduler per epoch."""
        optimizer = self._make_optimizer(self.victim.parameters())
        if self._make_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self._make_scheduler(optimizer)}

    # Batches, in an order that depends on seed and epoch only --------------------------------

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled training batches; Lightning asks once, before the first or resumed epoch."""
        self._reseed(self.current_epoch)
        return self._data.train_dataloader()

    def val_dataloader(self) -> DataLoader[Sample]:
        """Validation batches."""
        return self._data.val_dataloader()

    def test_dataloader(self) -> DataLoader[Sample]:
        """Test batches."""
        return self._data.test_dataloader()

    def on_train_epoch_end(self) -> None:
        """Seed the next epoch."""
        epoch_seed = self._reseed(self.current_epoch + 1)
        loader = self.trainer.train_dataloader
        if isinstance(loader, DataLoader) and loader.generator is not None:
            loader.generator.manual_seed(epoch_seed)

    def _reseed(self, epoch: int) -> int:
        epoch_seed = int(digest([self._seed, epoch])[:15], 16)
        torch.manual_seed(epoch_seed)
        return epoch_seed

    # Resuming --------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Time spent in training, that before an interruption included."""
        return self._seconds_before + time.perf_counter() - self._began

    def on_train_start(self) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the recipe and the time."""
        checkpoint["recipe"] = self._recipe
        checkpoint["seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse another recipe's checkpoint."""
        if checkpoint.get("recipe") != self._recipe:
            raise RecipeError(
                "the training checkpoint belongs to another recipe or data; resume with the config "
                "that it was begun with, or start over with resume=null"
            )
        self._seconds_before = checkpoint["seconds"]
