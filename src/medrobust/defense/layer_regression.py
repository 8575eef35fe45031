"""Layer regression: prediction of the deepest features from earlier ones."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.defense.core.base import Purifier
from medrobust.defense.core.detector import Observation
from medrobust.defense.core.layered import pooled
from medrobust.defense.core.learned import LearnedDetector
from medrobust.defense.network.mlp import MLP
from medrobust.model.core.order import in_order, penultimate
from medrobust.model.core.victim import Victim
from medrobust.number import whole


class LayerRegression(LearnedDetector):
    """Error of a regression of the deepest features on earlier ones (Mumcu and Yilmaz 2025).

    An attack changes deep layers far more than early ones, so that a regression learned from clean
    images has a large error. The score is the mean squared error. It needs no adversarial images,
    no second forward pass and only a small network.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        taps: earlier layers.
        target: module whose output is predicted; null for the one that feeds the classifier.
        grid: number of rows and columns of cells over which a map is averaged.
        hidden: width of the two hidden layers.
        cushion: see `Detector`; the regression is trained behind it.
        tnr: see `Detector`.
        fits: see `Detector`.
    """

    loop = "medrobust.training.defense.layer_regression.LayerRegressionModule"

    def __init__(
        self,
        name: str,
        checkpoint: str,
        seed: int = 0,
        *,
        taps: Sequence[str],
        target: str | None = None,
        grid: int = 2,
        hidden: int = 1024,
        cushion: Purifier | None = None,
        tnr: float | str = 0.9,
        fits: str | None = None,
    ) -> None:
        super().__init__(name, checkpoint, seed, taps=taps, cushion=cushion, tnr=tnr, fits=fits)
        self.inputs, self.target = tuple(taps), target
        self.grid = whole(grid, "defense.grid", low=1)
        self.hidden = whole(hidden, "defense.hidden", low=1)
        self.network: nn.Module = nn.Identity()

    def inspect_victim(self, victim: Victim, datamodule: Any) -> None:
        """Find the target, then record the shapes.

        Raises:
            ValueError: there are no taps.
            KeyError: the victim lacks a tap; lists those that it has.
        """
        if not self.inputs:
            raise ValueError(f"defense.taps is empty; name layers out of {victim.taps}")
        target = self.target
        if target is None:
            side, device = datamodule.size, victim.mean.device
            blank = torch.zeros(1, datamodule.channels, side, side, device=device)
            target = penultimate(in_order(victim, lambda parts: victim.features(blank, parts)[1]))
            if target is None:
                raise ValueError(
                    "defense.target=null, but no module of the victim runs before its classifier; "
                    f"name one out of {victim.taps}"
                )
        self.derive(taps=(*self.inputs, target))
        super().inspect_victim(victim, datamodule)

    def build(self, channels: int) -> None:
        """Build the regression."""
        shapes = [self.shapes[tap] for tap in self.inputs]
        length = sum(shape[0] * (self.grid**2 if len(shape) > 1 else 1) for shape in shapes)
        self.network = MLP(length, self.shapes[self.taps[-1]][0], self.hidden)

    def anomaly(self, seen: Observation) -> Tensor:
        """Compute the mean squared error of the regression (N,)."""
        parts = [self._cells(seen.features[tap]) for tap in self.inputs]
        found = self.network(torch.cat(parts, 1))
        return (found - pooled(seen.features[self.taps[-1]])).square().mean(1)

    def _cells(self, features: Tensor) -> Tensor:
        """Pool maps (N, C, ...) to (N, C · grid²); vectors (N, D) are kept."""
        if features.ndim < 4:
            return pooled(features)
        return F.adaptive_avg_pool2d(features, self.grid).flatten(1)
