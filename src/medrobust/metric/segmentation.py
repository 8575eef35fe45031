"""What is measured of a segmenter's masks."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

from medrobust.evaluation.predict import Answers
from medrobust.metric.classification import Measured
from medrobust.metric.interval import bootstrap


def foreground_scores(found: Tensor, wanted: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Dice and Jaccard per image, mean over the foreground classes.

    A class that is in neither mask of an image scores 1 there: a rightly empty mask is right.

    Args:
        found: predicted classes (N, H, W).
        wanted: true classes (N, H, W).
        classes: K; class 0 is background.

    Returns:
        float64 (N,), float64 (N,).
    """
    dice, jaccard = [], []
    for number in range(1, classes):
        a, b = (found == number).flatten(1), (wanted == number).flatten(1)
        both, either = (a & b).sum(1).double(), (a | b).sum(1).double()
        empty = either == 0
        dice.append((2 * both / (both + either).clamp(min=1)).masked_fill(empty, 1.0))
        jaccard.append((both / either.clamp(min=1)).masked_fill(empty, 1.0))
    return torch.stack(dice).mean(0), torch.stack(jaccard).mean(0)


def measure_segmentation(
    labels: Tensor, clean: Answers, attacked: Answers, *, classes: int, seed: int
) -> Measured:
    """Mean Dice and Jaccard per image, pixel accuracy, and how often the attack won.

    Args:
        labels: true masks (N, H, W).
        clean: answers to the clean images.
        attacked: answers to the attacked images.
        classes: K; class 0 is background.
        seed: of the bootstrap.
    """
    dice, jaccard = foreground_scores(attacked.label, labels, classes)
    clean_dice, clean_jaccard = foreground_scores(clean.label, labels, classes)
    pixels = multiclass_accuracy(
        attacked.label, labels, num_classes=classes, average="micro", multidim_average="samplewise"
    ).double()
    per_image = {
        "dice": dice,
        "jaccard": jaccard,
        "pixel_accuracy": pixels,
        "clean_dice": clean_dice,
    }
    before = clean_jaccard >= 0.5
    if before.any():
        # An image is lost when its Jaccard index falls below 0.5, as in the attacks' success rule.
        per_image["attack_success_rate"] = (jaccard < 0.5)[before].double()
    values = {name: value.mean().item() for name, value in per_image.items()}
    intervals = {}
    for name, value in per_image.items():
        array = value.numpy()
        intervals[name] = bootstrap(lambda i, a=array: a[i].mean(), len(array), seed=seed)  # type: ignore[misc]
    return Measured(values, intervals)
