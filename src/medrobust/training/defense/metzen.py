"""Training of the detector networks on feature maps."""

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.data.core.base import Sample
from medrobust.defense.metzen import Metzen
from medrobust.rng import fold_in
from medrobust.threat.defended import DefendedSurrogate
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from medrobust.training.defense.train import DefenseModule


class MetzenModule(DefenseModule):
    """Minimises every layer's binary cross-entropy, balanced between clean and attacked images."""

    defense: Metzen

    def loss(self, batch: Sample) -> Tensor:
        """Compute the mean over layers."""
        seeds = fold_in(self.seeds(batch), self.current_epoch)
        return _balanced(*self._logits(batch, seeds)).mean()

    def measure(self, batch: Sample) -> dict[str, Tensor]:
        """Return the loss, and the share of images whose summed logits have the right sign."""
        clean, attacked = self._logits(batch, self.seeds(batch))
        right = torch.cat([clean.sum(1) < 0, attacked.sum(1) > 0]).double().mean()
        return {"loss": _balanced(clean, attacked).mean(), "accuracy": right}

    def _logits(self, batch: Sample, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of clean and attacked images, (N, layers) each."""
        assert self.victim is not None
        images, how = batch.image, self.defense
        surrogate: Surrogate = VictimSurrogate(self.victim)
        if how.cushion is not None:
            surrogate = DefendedSurrogate(self.victim, how.cushion)
        attacked = how.attack(surrogate, images, batch.label, seeds=fold_in(seeds, 1))
        with torch.no_grad():
            both = torch.cat([images, attacked])
            seen = how.observe(both, self.victim, seeds=seeds.repeat(2))
        clean, dirty = how.logits(seen).chunk(2)
        return clean, dirty


def _balanced(clean: Tensor, attacked: Tensor) -> Tensor:
    """Compute the balanced binary cross-entropy of each layer, (layers,)."""
    return 0.5 * (F.softplus(clean).mean(0) + F.softplus(-attacked).mean(0))
