"""Training of Shield: each class's detector against attacks that raise its score."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import softplus

from medrobust.attack.core.loss import Loss
from medrobust.attack.pgd import PGD
from medrobust.data.core.base import Sample
from medrobust.defense.core.fitting import batches, enough_of_each
from medrobust.fingerprint import digest
from medrobust.model.core.victim import Victim
from medrobust.objective.core.inner import Highest
from medrobust.prediction import Prediction
from medrobust.rng import fold_in, uniform
from medrobust.threat.surrogate import Surrogate
from medrobust.training.defense.train import DefenseModule, TrainingSetup

if TYPE_CHECKING:
    from medrobust.defense.shield import Shield

_LEAST = 2
"""Minimum number of clean training images of each class."""
_CLASS, _ATTACK = 0xC1A5, 0xA77A
"""Seed tags of the class draw and of the attack."""


class ShieldModule(DefenseModule):
    """Minimises the negative of Medical Aegis' eq. 3, or of eq. 4 with a Cushion.

    For a clean image x of class l and another class y: softplus(-S_l(x)) + softplus(S_y(x')), where
    x' starts from x and PGD raises S_y inside an L∞ ball; the attack has no classification term, as
    in the paper. The ball grows over the epochs. With more than two classes y is redrawn for each
    image in each epoch. Both terms are balanced over classes, so that the detectors' logits can
    share one threshold. The epoch with the least loss on the validation split, attacked with the
    full budget, is selected.

    Args:
        defense: detectors whose networks are built.
        setup: setup of the training.

    Raises:
        FitError: a class has too few clean images.
    """

    defense: "Shield"
    of_clean: Tensor
    of_attacked: Tensor

    def __init__(self, defense: "Shield", setup: TrainingSetup) -> None:
        super().__init__(defense, setup)
        assert setup.victim is not None
        found = [entry.label for entry in setup.data.dataset("train").entries]
        labels, classes = torch.tensor(found), defense.classes
        enough_of_each(labels, classes, _LEAST)
        share = labels.bincount(minlength=classes) / len(labels)
        self.register_buffer("of_clean", 1 / (classes * share), persistent=False)
        others = (1 - share) / (classes - 1)  # share of attacked images that target a class
        self.register_buffer("of_attacked", 1 / (classes * others), persistent=False)

    def on_fit_start(self) -> None:
        """Standardise the features by the clean training images, unless that is done."""
        super().on_fit_start()
        network = self.defense.detectors
        if network.standardised:  # loaded with a resumed training
            return
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            parts = [
                network.describe(self.defense.observe(x, self._victim, seeds=seeds).features)
                for x, _, seeds in batches(self._data, "train", self.device)
            ]
            network.standardise(torch.cat(parts))

    def budget(self) -> float:
        """Return this epoch's budget, linear from `eps_first` to `eps`."""
        how, last = self.defense, (self.trainer.max_epochs or 1) - 1
        part = min(1.0, self.current_epoch / last) if last > 0 else 1.0
        return how.eps_first + part * (how.eps - how.eps_first)

    def loss(self, batch: Sample) -> Tensor:
        """Compute the loss at this epoch's budget and random start."""
        seeds = fold_in(self.seeds(batch), self.current_epoch)
        clean, attacked = self._logits(batch, seeds, self.budget())
        return self._loss(clean, attacked, batch.label, self._aims(batch.label, seeds))

    def measure(self, batch: Sample) -> dict[str, Tensor]:
        """Return the loss at the full budget, and the share of logits of the right sign."""
        seeds = self.seeds(batch)
        clean, attacked = self._logits(batch, seeds, self.defense.eps)
        aims = self._aims(batch.label, seeds)
        right = torch.cat([_of(clean, batch.label) > 0, _of(attacked, aims) < 0]).double().mean()
        return {"loss": self._loss(clean, attacked, batch.label, aims), "accuracy": right}

    @property
    def _victim(self) -> Victim:
        assert self.victim is not None
        return self.victim

    def _aims(self, labels: Tensor, seeds: Tensor) -> Tensor:
        """Draw a target class for each image (N,), other than its own."""
        classes = self.defense.classes
        draw = uniform(fold_in(seeds, _CLASS), (1,))[:, 0].double()
        return (labels + 1 + (draw * (classes - 1)).long()) % classes

    def _logits(self, batch: Sample, seeds: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Return S of all classes on the clean and on the attacked images, (N, K) each."""
        how, victim = self.defense, self._victim
        attack = PGD(
            eps, steps=how.steps, step_size=how.step_size, loss=Clean(), criterion=Highest()
        )
        attacked = attack(
            ShieldSurrogate(victim, how),
            batch.image,
            self._aims(batch.label, seeds),
            seeds=fold_in(seeds, _ATTACK),
        )
        with torch.no_grad():
            both = torch.cat([batch.image, attacked])
            seen = how.observe(both, victim, seeds=seeds.repeat(2))
            numbers = how.detectors.describe(seen.features)
        clean, dirty = how.detectors.detect(numbers).chunk(2)
        return clean, dirty

    def _loss(self, clean: Tensor, attacked: Tensor, labels: Tensor, aims: Tensor) -> Tensor:
        real = self.of_clean[labels] * softplus(-_of(clean, labels))
        fake = self.of_attacked[aims] * softplus(_of(attacked, aims))
        return real.mean() + fake.mean()


class ShieldSurrogate(Surrogate):
    """The surrogate of the training attack, with S of every class as its logits.

    Args:
        victim: frozen victim.
        shield: detectors whose networks are built.
    """

    def __init__(self, victim: Victim, shield: "Shield") -> None:
        super().__init__()
        self.victim, self.shield = victim, shield
        self.random = shield.random

    @property
    def fingerprint(self) -> str:
        """Return the digest of the current victim and detectors."""
        return digest(["shield", self.victim.fingerprint, self.shield.fingerprint])

    def forward(self, x: Tensor, seeds: Tensor, taps: Sequence[str] = ()) -> Prediction:
        """Compute S (N, K) of the cushioned images."""
        shield = self.shield
        if shield.cushion is not None:
            x = shield.cushion.differentiable(x, seeds=seeds)
        _, features = self.victim.features(x, shield.taps)
        return Prediction(shield.clean_logits(features))


class Clean(Loss):
    """A loss that raises S of a class; the labels are the target classes."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Return S_y (N,)."""
        return _of(prediction.logits, y)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Return S_y (N,)."""
        return _of(prediction.logits, target)


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]
