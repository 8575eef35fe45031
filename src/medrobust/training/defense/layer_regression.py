"""Training of layer regression on clean images."""

import torch
from torch import Tensor

from medrobust.data.core.base import Sample
from medrobust.defense.layer_regression import LayerRegression
from medrobust.training.defense.train import DefenseModule


class LayerRegressionModule(DefenseModule):
    """Minimises the score of the clean images that the victim classifies correctly."""

    defense: LayerRegression

    def loss(self, batch: Sample) -> Tensor:
        """Compute the mean score of those images; zero if there are none."""
        assert self.victim is not None
        with torch.no_grad():
            seen = self.defense.observe(batch.image, self.victim, seeds=self.seeds(batch))
        right = (seen.logits.argmax(1) == batch.label).to(batch.image.dtype)
        return (self.defense.anomaly(seen) * right).sum() / right.sum().clamp(min=1)
