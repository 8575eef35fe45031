"""Classifiers of clean against attacked feature maps, one for each layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.attack.base import Attack
from medrobust.data.base import Sample
from medrobust.defense.base import Purifier
from medrobust.defense.detector import Seen
from medrobust.defense.learned import LearnedDetector
from medrobust.defense.network.map_classifier import MapClassifier, as_maps
from medrobust.defense.network.steady import steady
from medrobust.number import fraction
from medrobust.rng import fold_in
from medrobust.threat.defended import DefendedSurrogate
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from medrobust.training.defense import DefenseModule, TrainingSetup


class Metzen(LearnedDetector):
    """Detector networks on feature maps (Metzen, Genewein, Fischer and Bischoff 2017).

    There one network sits at one layer; as in Medical Aegis there is one at each, and their logits
    are summed. Each learns by itself to tell the victim's features of clean training images from
    those of attacked ones: the paper's static adversary, who does not know the detector.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        taps: layers.
        attack: makes the training's adversarial images; it sees the victim, and by BPDA the
            Cushion, but not the detector.
        width: factor of the networks' channels; 1 is the published size.
        cushion: see `Detector`; the networks are trained behind it.
        tnr: see `Detector`.
        fits: see `Detector`.
    """

    def __init__(
        self,
        name: str,
        checkpoint: str,
        seed: int = 0,
        *,
        taps: Sequence[str],
        attack: Attack,
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
        """One network per tap."""
        widths = [max(1, round(self.width * count)) for count in (96, 192, 192)]
        self.networks = nn.ModuleList(MapClassifier(self.shapes[tap], widths) for tap in self.taps)

    def training_module(self, setup: TrainingSetup) -> DefenseModule:
        """Trains the networks side by side."""
        return MetzenModule(self, setup)

    def logits(self, seen: Seen) -> Tensor:
        """Of each layer, higher = more adversarial: (N, layers)."""
        ask = nn.Module.__call__ if self.training else steady  # batch norm sees no filling
        parts = [
            ask(network, as_maps(seen.features[tap]))
            for tap, network in zip(self.taps, self.networks, strict=True)
        ]
        return torch.stack(parts, 1)

    def anomaly(self, seen: Seen) -> Tensor:
        """Sum of the layers' logits."""
        return self.logits(seen).sum(1)


class MetzenModule(DefenseModule):
    """Minimises every layer's binary cross-entropy, clean and attacked in balance."""

    defense: Metzen

    def loss(self, batch: Sample) -> Tensor:
        """Mean over layers."""
        seeds = fold_in(self.seeds(batch), self.current_epoch)
        return _balanced(*self._logits(batch, seeds)).mean()

    def measure(self, batch: Sample) -> dict[str, Tensor]:
        """The loss, and the share that the sum of the logits puts on the right side of zero."""
        clean, attacked = self._logits(batch, self.seeds(batch))
        right = torch.cat([clean.sum(1) < 0, attacked.sum(1) > 0]).double().mean()
        return {"loss": _balanced(clean, attacked).mean(), "accuracy": right}

    def _logits(self, batch: Sample, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Of the clean and the attacked images, (N, layers) each."""
        assert self.victim is not None
        images, how = batch.image, self.defense
        surrogate: Surrogate = VictimSurrogate(self.victim)
        if how.cushion is not None:
            surrogate = DefendedSurrogate(self.victim, how.cushion, samples=1, chunk=len(images))
        attacked = how.attack(surrogate, images, batch.label, seeds=fold_in(seeds, 1))
        with torch.no_grad():
            both = torch.cat([images, attacked])
            seen = how.look(both, self.victim, seeds=seeds.repeat(2))
        clean, dirty = how.logits(seen).chunk(2)
        return clean, dirty


def _balanced(clean: Tensor, attacked: Tensor) -> Tensor:
    """Binary cross-entropy of each layer, both kinds weighing the same: (layers,)."""
    return 0.5 * (F.softplus(clean).mean(0) + F.softplus(-attacked).mean(0))
