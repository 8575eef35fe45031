"""Training loop of a victim, with the metrics that select its best epoch."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics import MetricCollection

from medrobust.data.core.base import MedicalDataModule, Sample
from medrobust.model.core.victim import Victim
from medrobust.objective.core.base import Objective
from medrobust.prediction import Prediction
from medrobust.rng import fold_in
from medrobust.threat.surrogate import VictimSurrogate
from medrobust.training.seeded import MakeOptimizer, MakeScheduler, SeededModule


class UndefinedScoreError(ValueError):
    """Raised when the score of the best epoch is undefined on the validation split."""


class TrainingModule(SeededModule):
    """Training loop of a victim; a task adds its metrics and the one that scores an epoch.

    With an objective that has a validation attack, the score is measured under it, as
    `val/robust_<metric>`, in addition to the clean metrics.

    The objective's random numbers depend on (seed, sample, epoch), those of the validation attack
    on (seed, sample).

    Args:
        victim: victim to train.
        objective: objective to minimise.
        data: train, val and test batches.
        optimizer: parameters -> optimizer.
        scheduler: optimizer -> scheduler, stepped once per epoch; None for a constant rate.
        seed: the run's seed.
        recipe: resolved training config; a checkpoint of another recipe is refused.
    """

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
        super().__init__(data, optimizer=optimizer, scheduler=scheduler, seed=seed, recipe=recipe)
        self.victim = victim
        self.objective = objective
        metrics = self.metrics(data.num_classes)
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")
        robust = MetricCollection({})
        if objective.validation is not None:
            names = {self.scored, self.robustly_scored} & set(metrics)
            if self.robustly_scored not in names:
                raise ValueError(
                    f"objective.val_metric={self.robustly_scored}, expected null or one of "
                    f"{sorted(map(str, metrics))}"
                )
            robust = MetricCollection({f"robust_{name}": metrics[name] for name in sorted(names)})
        self.val_robust = robust.clone(prefix="val/")
        self.test_robust = robust.clone(prefix="test/")

    @property
    def score(self) -> str:
        """Return the validation score that selects the best epoch."""
        clean = self.objective.validation is None
        return super().score if clean else f"val/robust_{self.robustly_scored}"

    @property
    def robustly_scored(self) -> str:
        """Return the metric that scores an epoch under the validation attack."""
        return self.objective.val_metric or self.scored

    @abstractmethod
    def metrics(self, num_classes: int) -> MetricCollection:
        """Return metrics of (answer, labels) that are computed over a whole split."""

    def answer(self, x: Tensor) -> Tensor | Prediction:
        """Return the metrics' input for images (N, C, H, W), the victim's logits."""
        return self.victim(x)

    def trained(self) -> Iterable[nn.Parameter]:
        """Return the victim's weights."""
        return self.victim.parameters()

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """Compute the loss of a batch."""
        seeds = fold_in(self.seeds(batch), self.current_epoch)
        loss = self.objective.loss(self.victim, batch.image, batch.label, seeds=seeds)
        return self.note_loss(loss, batch, batch_idx)

    def validation_step(self, batch: Sample, batch_idx: int) -> None:
        """Measure a batch of the validation split."""
        self._measure(batch, self.val_metrics, self.val_robust, prog_bar=True)

    def on_validation_end(self) -> None:
        """Check that the score can rank epochs.

        Raises:
            UndefinedScoreError: the score is NaN.
        """
        if self.trainer.callback_metrics[self.score].isnan():
            raise UndefinedScoreError(
                f"{self.score} selects the best epoch, but is not defined on split val, which has "
                "no true box or a single class; raise data.limit_val"
            )

    def test_step(self, batch: Sample, batch_idx: int) -> None:
        """Measure a batch of the test split."""
        self._measure(batch, self.test_metrics, self.test_robust, prog_bar=False)

    def _measure(
        self, batch: Sample, clean: MetricCollection, robust: MetricCollection, *, prog_bar: bool
    ) -> None:
        x, y = batch.image, batch.label
        clean.update(self.answer(x), y)
        self.log_dict(clean, on_epoch=True, prog_bar=prog_bar, batch_size=len(x))
        if self.objective.validation is not None:
            surrogate = VictimSurrogate(self.victim)
            attacked = self.objective.validation(surrogate, x, y, seeds=self.seeds(batch))
            robust.update(self.answer(attacked), y)
            self.log_dict(robust, on_epoch=True, prog_bar=prog_bar, batch_size=len(x))
