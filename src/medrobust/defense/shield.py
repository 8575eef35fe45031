"""Shield: detectors of adversarial features, one per class, trained against an attack on them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medrobust.defense.core.base import Purifier
from medrobust.defense.core.detector import Seen
from medrobust.defense.core.learned import LearnedDetector
from medrobust.defense.network.shield import ShieldNetwork
from medrobust.model.core.victim import Victim
from medrobust.number import fraction, whole


class Shield(LearnedDetector):
    """Shield, and with a Cushion in front of it Medical Aegis (Yao, He and Zhou).

    S_y, the detector of class y, tells the victim's features of clean images of y from those of
    images of other classes that were driven to raise S_y; see `ShieldModule`. Deployed, the
    detector of the class that the victim answers decides; the score is -S_y.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        taps: layers, seen together.
        hidden: units of each of a detector's two layers.
        eps_first: L∞ budget of the training's attack in its first epoch.
        eps: in its last epoch; between them it grows in equal parts.
        steps: of the training's attack.
        step_size: length of its steps; None = PGD's own rule, min(eps, 2.5 eps / steps).
        cushion: see `Detector`; the attack goes through it (BPDA, or exactly where it can).
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
        """Note the shapes of the taps' outputs and the number of the victim's classes."""
        super().inspect_victim(victim, datamodule)
        side = datamodule.size
        blank = torch.zeros(1, datamodule.channels, side, side, device=victim.mean.device)
        self.classes = victim(blank).shape[1]

    def build(self, channels: int) -> None:
        """One detector per class."""
        shapes = {tap: self.shapes[tap] for tap in self.taps}
        self.network = ShieldNetwork(shapes, classes=self.classes, hidden=self.hidden)

    @property
    def detectors(self) -> ShieldNetwork:
        """The networks, built."""
        assert isinstance(self.network, ShieldNetwork)
        return self.network

    def clean_logits(self, features: Mapping[str, Tensor]) -> Tensor:
        """S of every class (N, K) from tapped features, higher = more like its clean images."""
        found: Tensor = self.detectors(features)
        return found

    def anomaly(self, seen: Seen) -> Tensor:
        """-S of the class that the victim answers (N,)."""
        predicted = seen.logits.argmax(1, keepdim=True)
        return -self.clean_logits(seen.features).gather(1, predicted)[:, 0]
