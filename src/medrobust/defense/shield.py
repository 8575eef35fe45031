"""Shield: per-class detectors of adversarial features, trained against an attack on them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medrobust.defense.core.base import Purifier
from medrobust.defense.core.detector import Observation
from medrobust.defense.core.learned import LearnedDetector
from medrobust.defense.network.shield import ShieldNetwork
from medrobust.model.core.victim import Victim
from medrobust.number import fraction, whole


class Shield(LearnedDetector):
    """Shield, or Medical Aegis with a Cushion in front of it (Yao, He and Zhou).

    S_y, the detector of class y, distinguishes the victim's features of clean images of y from
    those of images of other classes that were attacked to raise S_y; see `ShieldModule`. Deployed,
    the score is -S_y of the class y that the victim predicts.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        taps: tap layers, used jointly.
        hidden: units of each of a detector's two layers.
        eps_first: L∞ budget of the training attack in the first epoch.
        eps: L∞ budget in the last epoch, with linear growth between them.
        steps: gradient steps of the training attack.
        step_size: its step size; None for PGD's default, min(eps, 2.5 eps / steps).
        cushion: see `Detector`; the attack differentiates it exactly, or by BPDA.
        tnr: see `Detector`.
        fits: see `Detector`.
    """

    loop = "medrobust.training.defense.shield.ShieldModule"

    def __init__(
        self,
        name: str,
        checkpoint: str,
        seed: int = 0,
        *,
        taps: Sequence[str],
        hidden: int = 128,
        eps_first: float | str = "1/256",
        eps: float | str = "16/256",
        steps: int = 10,
        step_size: float | str | None = None,
        cushion: Purifier | None = None,
        tnr: float | str = 0.9,
        fits: str | None = None,
    ) -> None:
        super().__init__(name, checkpoint, seed, taps=taps, cushion=cushion, tnr=tnr, fits=fits)
        self.hidden = whole(hidden, "defense.hidden", low=1)
        self.eps = fraction(eps, "defense.eps", above=True)
        self.eps_first = fraction(eps_first, "defense.eps_first", high=self.eps, above=True)
        self.steps = whole(steps, "defense.steps", low=1)
        self.step_size = (
            None if step_size is None else fraction(step_size, "defense.step_size", above=True)
        )
        self.classes = 0
        self.network: nn.Module = nn.Identity()

    @torch.no_grad()
    def inspect_victim(self, victim: Victim, datamodule: Any) -> None:
        """Record the shapes of the taps' outputs and the victim's number of classes."""
        super().inspect_victim(victim, datamodule)
        side = datamodule.size
        blank = torch.zeros(1, datamodule.channels, side, side, device=victim.mean.device)
        self.classes = victim(blank).shape[1]

    def build(self, channels: int) -> None:
        """Build one detector per class."""
        shapes = {tap: self.shapes[tap] for tap in self.taps}
        self.network = ShieldNetwork(shapes, classes=self.classes, hidden=self.hidden)

    @property
    def detectors(self) -> ShieldNetwork:
        """Return the networks, which must be built."""
        assert isinstance(self.network, ShieldNetwork)
        return self.network

    def clean_logits(self, features: Mapping[str, Tensor]) -> Tensor:
        """Compute S of every class (N, K) from tapped features, higher = more likely clean."""
        found: Tensor = self.detectors(features)
        return found

    def anomaly(self, seen: Observation) -> Tensor:
        """Compute -S of the predicted class (N,)."""
        predicted = seen.logits.argmax(1, keepdim=True)
        return -self.clean_logits(seen.features).gather(1, predicted)[:, 0]
