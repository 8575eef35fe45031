"""The frame of detectors: defenses that score how adversarial an image looks."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medrobust.code.digest import reach_digest
from medrobust.configured import all_code, unsourced
from medrobust.defense.core.base import Defense, Purifier
from medrobust.defense.core.fitting import Statistics, batches, names_of, pass_mark, remembered
from medrobust.model.core.frozen import check_frozen
from medrobust.model.core.victim import Victim
from medrobust.number import fraction
from medrobust.prediction import Prediction


class UnfittedDetectorError(RuntimeError):
    """A detector is asked for an answer before its threshold is chosen."""


class Seen(NamedTuple):
    """What a detector judges a batch by.

    Attributes:
        x: images (N, C, H, W) in [0, 1] as the victim got them: behind the Cushion.
        logits: the victim's answer (N, K).
        features: outputs of the detector's taps, {tap: (N, ...)}.
        victim: for what has to be asked beyond these.
        seeds: int64 (N,).
    """

    x: Tensor
    logits: Tensor
    features: Mapping[str, Tensor]
    victim: Victim
    seeds: Tensor


class Detector(Defense):
    """Answers as the victim does, scores how adversarial the image looks, and refuses the worst.

    Logits and features are of one forward pass over the (cushioned) image. Above the threshold it
    refuses; the threshold is chosen on the clean validation split alone.

    A subclass writes `anomaly`, and `learn` if it learns from clean training images.

    Args:
        taps: modules of the victim whose outputs are judged.
        cushion: purifier in front of the victim; null for none.
        tnr: share of clean validation images that pass.
        fits: folder in which a fit is kept for the next time; null to fit anew every time.
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
    def anomaly(self, seen: Seen) -> Tensor:
        """(N,), higher = more adversarial; differentiable where the method is."""

    def learn(self, victim: Victim, datamodule: Any) -> None:
        """Keep in `statistics` what the method learns from clean images; nothing for most."""

    def fit(self, victim: Victim, datamodule: Any) -> None:
        """Learn, then choose the threshold on the clean validation split.

        Raises:
            FitError: too few images of a class, a split of one class, or masks for labels.
            UnfrozenError: the victim is in training mode.
            KeyError: the victim lacks a tap; names those that it has.
        """
        check_frozen(victim, type(self).__name__)
        super().fit(victim, datamodule)
        self.forget()
        self.to(victim.mean.device)
        code = all_code(self, victim)
        learned_by = reach_digest(code, __name__)
        parts = [self.fingerprint, victim.identity, learned_by, *names_of(datamodule)]
        folder = None if unsourced(code) else self.fits
        with torch.no_grad():
            found = remembered(folder, parts, lambda: self._fitted(victim, datamodule))
        for name, value in found.items():
            if name != "threshold":
                self.statistics[name] = value.to(victim.mean.device)
        self.threshold = found["threshold"].to(victim.mean.device)

    def _fitted(self, victim: Victim, datamodule: Any) -> dict[str, Tensor]:
        """Learn and calibrate; all that came of it."""
        self.learn(victim, datamodule)
        self.calibrate(batches(datamodule, "val", victim.mean.device), victim)
        return {**dict(self.statistics.named_buffers()), "threshold": self.threshold}

    def forget(self) -> None:
        """As before `fit`."""
        self.statistics.clear()
        self.threshold = torch.tensor(float("nan"), device=self.threshold.device)
        self._ready = False

    def calibrate(self, batches: Iterator[tuple[Tensor, Tensor, Tensor]], victim: Victim) -> None:
        """Choose the threshold.

        Args:
            batches: clean validation images, labels and seeds.
            victim: frozen.
        """
        scores = [self.anomaly(self.look(x, victim, seeds=seeds)) for x, _, seeds in batches]
        self.threshold = pass_mark(torch.cat(scores), self.tnr)

    def look(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Seen:
        """What there is to judge images by, as deployed."""
        return self._ask(self.view(x, seeds=seeds), victim, seeds)

    def _ask(self, x: Tensor, victim: Victim, seeds: Tensor) -> Seen:
        logits, features = victim.features(x, self.taps) if self.taps else (victim(x), {})
        return Seen(x, logits, features, victim, seeds)

    def _judge(self, seen: Seen) -> Prediction:
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
        """The victim's answer to the cushioned image, score and threshold beside it.

        Raises:
            UnfittedDetectorError: there is no threshold yet.
        """
        return self._judge(self.look(x, victim, seeds=seeds))

    def proxy(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """The same with the derivative that an attacker takes of the Cushion."""
        if self.cushion is not None:
            x = self.cushion.differentiable(x, seeds=seeds)
        return self._judge(self._ask(x, victim, seeds))

    def view(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """The cushioned image."""
        return x if self.cushion is None else self.cushion.purify(x, seeds=seeds)
