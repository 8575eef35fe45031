"""Features of clean training images, for losses that imitate them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from medrobust.attack.loss.core.taps import victim_of
from medrobust.attack.target.most_likely import MostLikely
from medrobust.rng import sample_seeds

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate

_SEED = 0  # of the draw and of a randomized surrogate's noise; the classes' images are a fixed set
_BATCH = 64


class Clean(NamedTuple):
    """Features of some clean training images on the surrogate.

    Attributes:
        labels: int64 (M,), true classes.
        predicted: int64 (M,).
        features: {tap: (M, ...)}.
        classes: K.
    """

    labels: Tensor
    predicted: Tensor
    features: dict[str, Tensor]
    classes: int


class TrainingImages:
    """Training images, at most `per_class` of each class, the same ones in every run.

    Args:
        data: a classification datamodule.
        per_class: largest number per class.
        like: tensor whose device and dtype the images get.

    Raises:
        ValueError: the labels are masks.
    """

    def __init__(self, data: Any, per_class: int, like: Tensor) -> None:
        if data.task != "classification":
            raise ValueError(
                f"this loss imitates the images of a class, and {data.name} is a task of "
                f"{data.task}: choose attack/loss=cross_entropy, margin or stress"
            )
        self.dataset, labels = data.dataset("train"), data.labels("train")
        words = sample_seeds(_SEED, [entry.id for entry in self.dataset.entries])
        shuffled = words.argsort()
        ranked = shuffled[labels[shuffled].argsort(stable=True)]  # by class, then by word
        place = torch.arange(len(ranked)) - torch.searchsorted(labels[ranked], labels[ranked])
        self.chosen = ranked[place < per_class]
        self.labels, self.words, self.like = labels[self.chosen], words[self.chosen], like

    def batch(self, start: int) -> tuple[Tensor, Tensor]:
        """Images (n, C, H, W) and seeds (n,), from place `start` on."""
        places = self.chosen[start : start + _BATCH].tolist()
        images = torch.stack([self.dataset[i].image for i in places]).to(self.like)
        return images, self.words[start : start + _BATCH].to(self.like.device)


def clean_features(
    surrogate: "Surrogate",
    data: Any,
    per_class: int,
    taps: Sequence[str] | Callable[["Surrogate", Tensor, Tensor], tuple[str, ...]],
    reduce: Callable[[Tensor], Tensor],
) -> Clean:
    """Run training images, sorted by class, through the surrogate.

    Args:
        surrogate: what the attacker sees.
        data: a classification datamodule.
        per_class: most images of a class.
        taps: module names, or the rule that finds them given the surrogate, images and seeds.
        reduce: applied to each tap's output (n, ...) before it is kept.
    """
    images = TrainingImages(data, per_class, victim_of(surrogate).mean)
    names = taps(surrogate, *images.batch(0)) if callable(taps) else tuple(taps)
    predicted: list[Tensor] = []
    kept: dict[str, list[Tensor]] = {tap: [] for tap in names}
    with torch.no_grad():
        for start in range(0, len(images.labels), _BATCH):
            seen = surrogate(*images.batch(start), names)
            predicted.append(seen.label)
            for tap in names:
                kept[tap].append(reduce(seen.features[tap]))
    features = {tap: torch.cat(parts) for tap, parts in kept.items()}
    labels = images.labels.to(images.like.device)
    return Clean(labels, torch.cat(predicted), features, seen.logits.shape[1])


def class_to_imitate(
    surrogate: "Surrogate", x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
) -> Tensor:
    """The target class, or without one the likeliest wrong class of each clean image: (N,)."""
    return y if targeted else MostLikely()(surrogate(x, seeds).logits, y, seeds)
