"""The base class of detectors, defenses that score how adversarial an image looks."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medrobust.code.digest import reach_digest
from medrobust.configured import all_code, unsourced
from medrobust.defense.core.base import Defense, Purifier
from medrobust.defense.core.fitting import (
    Statistics,
    batches,
    cached_fit,
    data_identity,
    rejection_threshold,
)
from medrobust.model.core.frozen import check_frozen
from medrobust.model.core.victim import Victim
from medrobust.number import fraction
from medrobust.prediction import Prediction


class UnfittedDetectorError(RuntimeError):
    """Raised when a detector is used before its threshold is chosen."""


class Observation(NamedTuple):
    """The inputs of a detector's score for a batch.

    Attributes:
        x: the victim's input (N, C, H, W) in [0, 1], behind the Cushion.
        logits: the victim's logits (N, K).
        features: outputs of the detector's taps, {tap: (N, ...)}.
        victim: victim, for further queries.
        seeds: int64 (N,).
    """

    x: Tensor
    logits: Tensor
    features: Mapping[str, Tensor]
    victim: Victim
    seeds: Tensor


class Detector(Defense):
    """Answers as the victim does, scores how adversarial an image looks, and rejects high scores.

    Logits and features are from one forward pass over the (cushioned) image. Images that score
    above the threshold are rejected; the threshold is chosen on the clean validation split alone.

    A subclass implements `anomaly`, and `learn` if it learns from clean training images.

    Args:
        taps: modules of the victim whose outputs are scored.
        cushion: purifier in front of the victim; null for none.
        tnr: share of clean validation images that pass.
        fits: folder in which fits are cached; null to fit anew every time.
    """

    unscientific: tuple[str, ...] = ("fits",)
    threshold: Tensor

    def __init__(
        self,
        taps: Sequence[str] = (),
        *,
        cushion: Purifier | None = None,
        tnr: float | str = 0.9,
        fits: str | None = None,
    ) -> None:
        super().__init__()
        if cushion is not None and not isinstance(cushion, Purifier):
            raise TypeError(f"defense.cushion is a {type(cushion).__name__}, expected a purifier")
        self.taps, self.cushion, self.fits = tuple(taps), cushion, fits
        self.tnr = fraction(tnr, "defense.tnr", above=True)
        self.random = cushion is not None and cushion.random
        self.statistics = Statistics()
        self.register_buffer("threshold", torch.tensor(float("nan")))
        self._ready = False

    @abstractmethod
    def anomaly(self, seen: Observation) -> Tensor:
        """Compute the score (N,), higher = more adversarial; differentiable if the method is."""

    def learn(self, victim: Victim, datamodule: Any) -> None:
        """Learn from clean images into `statistics`; does nothing by default."""

    def fit(self, victim: Victim, datamodule: Any) -> None:
        """Learn, then choose the threshold on the clean validation split.

        Raises:
            FitError: a class has too few images, a split has one class, or the labels are masks.
            UnfrozenError: the victim is in training mode.
            KeyError: the victim lacks a tap; lists those that it has.
        """
        check_frozen(victim, type(self).__name__)
        super().fit(victim, datamodule)
        self.forget()
        self.to(victim.mean.device)
        code = all_code(self, victim)
        learned_by = reach_digest(code, __name__)
        parts = [self.fingerprint, victim.identity, learned_by, *data_identity(datamodule)]
        folder = None if unsourced(code) else self.fits
        with torch.no_grad():
            found = cached_fit(folder, parts, lambda: self._fitted(victim, datamodule))
        for name, value in found.items():
            if name != "threshold":
                self.statistics[name] = value.to(victim.mean.device)
        self.threshold = found["threshold"].to(victim.mean.device)

    def _fitted(self, victim: Victim, datamodule: Any) -> dict[str, Tensor]:
        """Learn and calibrate, and return the learned state."""
        self.learn(victim, datamodule)
        self.calibrate(batches(datamodule, "val", victim.mean.device), victim)
        return {**dict(self.statistics.named_buffers()), "threshold": self.threshold}

    def forget(self) -> None:
        """Drop the fitted state."""
        self.statistics.clear()
        self.threshold = torch.tensor(float("nan"), device=self.threshold.device)
        self._ready = False

    def calibrate(self, batches: Iterator[tuple[Tensor, Tensor, Tensor]], victim: Victim) -> None:
        """Choose the threshold.

        Args:
            batches: clean validation images, labels and seeds.
            victim: frozen victim.
        """
        scores = [self.anomaly(self.observe(x, victim, seeds=seeds)) for x, _, seeds in batches]
        self.threshold = rejection_threshold(torch.cat(scores), self.tnr)

    def observe(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Observation:
        """Compute the inputs of the score, as deployed."""
        return self._observe(self.view(x, seeds=seeds), victim, seeds)

    def _observe(self, x: Tensor, victim: Victim, seeds: Tensor) -> Observation:
        logits, features = victim.features(x, self.taps) if self.taps else (victim(x), {})
        return Observation(x, logits, features, victim, seeds)

    def _judge(self, seen: Observation) -> Prediction:
        if not self._ready:
            self._check_fitted()
        score = self.anomaly(seen)
        return Prediction(
            seen.logits, score=score, threshold=self.threshold, abstain=score > self.threshold
        )

    def _check_fitted(self) -> None:
        if self.threshold.isnan():
            raise UnfittedDetectorError(
                f"{type(self).__name__} has no threshold yet: choose it with fit(victim, data)"
            )
        self._ready = True

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Return the victim's prediction for the cushioned image, with score and threshold.

        Raises:
            UnfittedDetectorError: the threshold is not chosen yet.
        """
        return self._judge(self.observe(x, victim, seeds=seeds))

    def proxy(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Compute the deployed prediction with the attacker's derivative of the Cushion."""
        if self.cushion is not None:
            x = self.cushion.differentiable(x, seeds=seeds)
        return self._judge(self._observe(x, victim, seeds))

    def view(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the cushioned image."""
        return x if self.cushion is None else self.cushion.purify(x, seeds=seeds)
