"""Classifiers of clean against attacked feature maps, one per layer."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from medrobust.defense.core.base import Purifier
from medrobust.defense.core.detector import Observation
from medrobust.defense.core.learned import LearnedDetector
from medrobust.defense.network.map_classifier import MapClassifier, as_maps
from medrobust.defense.network.steady import steady
from medrobust.number import fraction


class Metzen(LearnedDetector):
    """Detector networks on feature maps (Metzen, Genewein, Fischer and Bischoff 2017).

    The paper has one network at one layer; as in Medical Aegis there is one at each, and their
    logits are summed. Each learns separately to distinguish the victim's features of clean and of
    attacked training images, against the paper's static adversary, who does not know the detector.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        taps: tap layers.
        attack: attack that crafts the training images, on the victim and by BPDA the Cushion, but
            not on the detector.
        width: factor of the networks' channels; 1 is the published size.
        cushion: see `Detector`; the networks are trained behind it.
        tnr: see `Detector`.
        fits: see `Detector`.
    """

    loop = "medrobust.training.defense.metzen.MetzenModule"

    def __init__(
        self,
        name: str,
        checkpoint: str,
        seed: int = 0,
        *,
        taps: Sequence[str],
        attack: Callable[..., Tensor],
        width: float = 1.0,
        cushion: Purifier | None = None,
        tnr: float | str = 0.9,
        fits: str | None = None,
    ) -> None:
        super().__init__(name, checkpoint, seed, taps=taps, cushion=cushion, tnr=tnr, fits=fits)
        self.attack = attack
        self.width = fraction(width, "defense.width", high=16, above=True)
        self.networks = nn.ModuleList()

    def build(self, channels: int) -> None:
        """Build one network per tap."""
        widths = [max(1, round(self.width * count)) for count in (96, 192, 192)]
        self.networks = nn.ModuleList(MapClassifier(self.shapes[tap], widths) for tap in self.taps)

    def logits(self, seen: Observation) -> Tensor:
        """Compute the logit of each layer, higher = more adversarial: (N, layers)."""
        ask = nn.Module.__call__ if self.training else steady  # batch norm must not see padding
        parts = [
            ask(network, as_maps(seen.features[tap]))
            for tap, network in zip(self.taps, self.networks, strict=True)
        ]
        return torch.stack(parts, 1)

    def anomaly(self, seen: Observation) -> Tensor:
        """Compute the sum of the layers' logits."""
        return self.logits(seen).sum(1)
