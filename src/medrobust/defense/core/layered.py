"""Detectors that score each tapped layer by what clean training images look like there."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from medrobust.defense.core.detector import Detector, Seen
from medrobust.defense.core.fitting import batches, enough_of_each, pass_mark
from medrobust.model.core.conv import steady_linear
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds


class LayerDetector(Detector):
    """The mean over layers of an anomaly score, as Medical Aegis averages its baselines.

    Layers score on scales of their own, so each is standardised first: minus the mean over the
    clean validation images, divided by their standard deviation. A tap's map is averaged over its
    pixels (Lee et al. 2018), so that a layer is a vector of its channels. Statistics are of the
    true classes of the training images; the split's labels are the only ones that are used.

    `least` images are needed of each class, at most `most` are kept, always the same ones.
    """

    least: int = 1
    most: int | None = None

    @abstractmethod
    def learn_layer(self, layer: int, features: Tensor, labels: Tensor, classes: int) -> None:
        """Keep in `statistics` what one layer's score needs.

        Args:
            layer: its place among the taps.
            features: of clean training images (M, D), in order of their ids' digests.
            labels: int64 (M,), true classes.
            classes: K.
        """

    @abstractmethod
    def layer_score(self, layer: int, features: Tensor, predicted: Tensor) -> Tensor:
        """Anomaly at one layer (N,), higher = more adversarial.

        Args:
            layer: its place among the taps.
            features: (N, D).
            predicted: int64 (N,), the victim's answer.
        """

    def learn(self, victim: Victim, datamodule: Any) -> None:
        """Run the training split through the victim, behind the Cushion."""
        if not self.taps:
            raise ValueError(f"defense.taps is empty; name layers out of {victim.taps}")
        seen, found = [], []
        classes = 0
        for x, labels, seeds in batches(datamodule, "train", victim.mean.device):
            look = self.look(x, victim, seeds=seeds)
            classes = look.logits.shape[1]
            seen.append([pooled(look.features[tap]) for tap in self.taps])
            found.append(labels)
        labels = torch.cat(found)
        enough_of_each(labels, classes, self.least)
        # Any order but that of the files: a part of the images is then a fair draw.
        words = sample_seeds(0, [entry.id for entry in datamodule.dataset("train").entries])
        order = words.argsort().to(labels.device)
        order = order[rank_in_class(labels[order]) < self.most] if self.most else order
        for layer, parts in enumerate(zip(*seen, strict=True)):
            self.learn_layer(layer, torch.cat(parts)[order], labels[order], classes)

    def calibrate(self, batches: Iterator[tuple[Tensor, Tensor, Tensor]], victim: Victim) -> None:
        """Bring the layers on one scale, then choose the threshold, both on the same images."""
        looks = (self.look(x, victim, seeds=seeds) for x, _, seeds in batches)
        raw = torch.cat([self.layer_scores(seen) for seen in looks])
        self.statistics["centre"] = raw.mean(0)
        self.statistics["spread"] = raw.std(0).clamp(min=torch.finfo(raw.dtype).tiny)
        self.threshold = pass_mark(self.combine(raw), self.tnr)

    def layer_scores(self, seen: Seen) -> Tensor:
        """Anomaly of every layer, each on its own scale: (N, layers)."""
        predicted = seen.logits.argmax(1)
        parts = [
            self.layer_score(layer, pooled(seen.features[tap]), predicted)
            for layer, tap in enumerate(self.taps)
        ]
        return torch.stack(parts, 1)

    def combine(self, raw: Tensor) -> Tensor:
        """Mean over layers (N,) of scores on one scale."""
        return ((raw - self.statistics["centre"]) / self.statistics["spread"]).mean(1)

    def anomaly(self, seen: Seen) -> Tensor:
        """Mean over layers of the standardised scores."""
        return self.combine(self.layer_scores(seen))


def pooled(features: Tensor) -> Tensor:
    """(N, C, ...) -> (N, C): the mean over pixels, if there are any."""
    return features.flatten(2).mean(2) if features.ndim > 2 else features


def rank_in_class(labels: Tensor) -> Tensor:
    """How many earlier ones have the same label: int64 (M,)."""
    order = labels.argsort(stable=True)
    ranks = torch.empty_like(order)
    places = torch.arange(len(order), device=labels.device)
    ranks[order] = places - torch.searchsorted(labels[order], labels[order])
    return ranks


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squares of the Euclidean distances of rows, (N, M), by one matrix product.

    Both should be centred on the same point among them: float32 then has digits for what is left.
    """
    squares = x.square().sum(1, keepdim=True) + y.square().sum(1)
    return (squares - 2 * steady_linear(x, y, bias=None)).clamp(min=0)
