"""The base class of detectors that score each tapped layer against clean training images."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from medrobust.defense.core.detector import Detector, Observation
from medrobust.defense.core.fitting import batches, enough_of_each, rejection_threshold
from medrobust.model.core.conv import steady_linear
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds


class LayerDetector(Detector):
    """The mean over layers of an anomaly score, as in Medical Aegis's baselines.

    The scores of layers differ in scale, so each is standardised first by the mean and standard
    deviation over the clean validation images. A tap's map is averaged over its pixels (Lee et al.
    2018), so that a layer is a vector of its channels. Statistics use the true classes of the
    training images, and no other labels.

    Each class needs `least` images; at most `most` are kept, always the same ones.
    """

    least: int = 1
    most: int | None = None

    @abstractmethod
    def learn_layer(self, layer: int, features: Tensor, labels: Tensor, classes: int) -> None:
        """Learn the statistics of one layer's score.

        Args:
            layer: index of the tap.
            features: features of clean training images (M, D), in order of their ids' digests.
            labels: int64 (M,), true classes.
            classes: number of classes K.
        """

    @abstractmethod
    def layer_score(self, layer: int, features: Tensor, predicted: Tensor) -> Tensor:
        """Compute the score at one layer (N,), higher = more adversarial.

        Args:
            layer: index of the tap.
            features: features (N, D).
            predicted: int64 (N,), the victim's class.
        """

    def learn(self, victim: Victim, datamodule: Any) -> None:
        """Learn every layer from the training split, behind the Cushion."""
        if not self.taps:
            raise ValueError(f"defense.taps is empty; name layers out of {victim.taps}")
        seen, found = [], []
        classes = 0
        for x, labels, seeds in batches(datamodule, "train", victim.mean.device):
            look = self.observe(x, victim, seeds=seeds)
            classes = look.logits.shape[1]
            seen.append([pooled(look.features[tap]) for tap in self.taps])
            found.append(labels)
        labels = torch.cat(found)
        enough_of_each(labels, classes, self.least)
        # A seeded order, so that the first images are a random subset.
        words = sample_seeds(0, [entry.id for entry in datamodule.dataset("train").entries])
        order = words.argsort().to(labels.device)
        order = order[rank_in_class(labels[order]) < self.most] if self.most else order
        for layer, parts in enumerate(zip(*seen, strict=True)):
            self.learn_layer(layer, torch.cat(parts)[order], labels[order], classes)

    def calibrate(self, batches: Iterator[tuple[Tensor, Tensor, Tensor]], victim: Victim) -> None:
        """Standardise the layers, then choose the threshold, both on the same images."""
        looks = (self.observe(x, victim, seeds=seeds) for x, _, seeds in batches)
        raw = torch.cat([self.layer_scores(seen) for seen in looks])
        self.statistics["centre"] = raw.mean(0)
        self.statistics["spread"] = raw.std(0).clamp(min=torch.finfo(raw.dtype).tiny)
        self.threshold = rejection_threshold(self.combine(raw), self.tnr)

    def layer_scores(self, seen: Observation) -> Tensor:
        """Compute the unstandardised score of every layer, (N, layers)."""
        predicted = seen.logits.argmax(1)
        parts = [
            self.layer_score(layer, pooled(seen.features[tap]), predicted)
            for layer, tap in enumerate(self.taps)
        ]
        return torch.stack(parts, 1)

    def combine(self, raw: Tensor) -> Tensor:
        """Standardise scores and average them over layers, (N,)."""
        return ((raw - self.statistics["centre"]) / self.statistics["spread"]).mean(1)

    def anomaly(self, seen: Observation) -> Tensor:
        """Compute the mean over layers of the standardised scores."""
        return self.combine(self.layer_scores(seen))


def pooled(features: Tensor) -> Tensor:
    """Average (N, C, ...) over pixels to (N, C)."""
    return features.flatten(2).mean(2) if features.ndim > 2 else features


def rank_in_class(labels: Tensor) -> Tensor:
    """Count the earlier elements with the same label, int64 (M,)."""
    order = labels.argsort(stable=True)
    ranks = torch.empty_like(order)
    places = torch.arange(len(order), device=labels.device)
    ranks[order] = places - torch.searchsorted(labels[order], labels[order])
    return ranks


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Compute squared Euclidean distances of rows, (N, M), by one matrix product.

    Both should be centred on a common point near them, which preserves float32 precision.
    """
    squares = x.square().sum(1, keepdim=True) + y.square().sum(1)
    return (squares - 2 * steady_linear(x, y, bias=None)).clamp(min=0)
