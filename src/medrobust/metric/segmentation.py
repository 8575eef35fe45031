"""Metrics of a segmenter's masks."""

import numpy as np
import torch
from torch import Tensor

from medrobust.metric.interval import Statistic, bootstrap, counted_bootstrap, share, weighted
from medrobust.metric.measured import Measured
from medrobust.metric.overlap import Overlap, mean_accuracy, overlap
from medrobust.prediction import Answers


def measure_segmentation(
    labels: Tensor,
    clean: Answers,
    attacked: Answers,
    *,
    classes: int,
    seed: int,
    level: float = 0.5,
) -> Measured:
    """Compute the metrics of the masks under attack and on clean images.

    `dice`, `jaccard` and `pixel_accuracy` are computed per image and averaged over images. The
    first two are means over the foreground classes in the true or predicted mask, 1 if there is
    none; `pixel_accuracy` is over all pixels. `mean_accuracy` is over all pixels of the set: the
    recall of each class, averaged over the classes, background included. `clean_` is the same
    before the attack.

    `attack_success_rate` is the share of images with Jaccard < `level` among those that reached it
    before the attack.

    A pixel on which the defense abstains has no class. It is wrong in both accuracies; in Dice and
    Jaccard it is a false negative of its true class and no false positive, so abstaining on the
    background costs nothing there. `dice_vote` and `jaccard_vote` take the leading class
    regardless. A rejected image abstains on every pixel.

    Args:
        labels: true masks (N, H, W).
        clean: answers to the clean images.
        attacked: answers to the attacked images.
        classes: number of classes K; class 0 is background.
        seed: seed of the bootstrap over images.
        level: Jaccard index below which an image is lost.
    """
    found, before = (_counts(answers, labels, classes) for answers in (attacked, clean))
    per_image = {
        "dice": found.dice,
        "jaccard": found.jaccard,
        "pixel_accuracy": found.accuracy,
        "clean_dice": before.dice,
        "clean_jaccard": before.jaccard,
        "clean_pixel_accuracy": before.accuracy,
    }
    if attacked.abstain is not None:
        vote = overlap(attacked.label, labels, classes)
        silent = attacked.abstain.flatten(1) if attacked.abstain.ndim > 1 else attacked.abstain
        per_image |= {
            "dice_vote": vote.dice,
            "jaccard_vote": vote.jaccard,
            "abstention_rate": silent.double().view(len(labels), -1).mean(1),
        }
    own = dict(attacked.details)
    if attacked.confidence is not None:
        own |= {"robust_metric": attacked.confidence}
    values: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    over: dict[str, Statistic] = {}
    for name, value in (per_image | own).items():
        numbers = value.double().numpy()
        values[name] = float(numbers.mean())
        intervals[name] = bootstrap(lambda i, a=numbers: a[i].mean(), len(numbers), seed=seed)  # type: ignore[misc]
        over[name] = weighted(value)
    kept = before.jaccard >= level
    if kept.any():
        name = "attack_success_rate"
        values[name], intervals[name], over[name] = share(found.jaccard < level, kept)
    for name, part in (("mean_accuracy", found), ("clean_mean_accuracy", before)):
        over[name] = _mean_accuracy(part)
        values[name] = float(over[name](np.ones((1, len(labels))))[0])
        intervals[name] = counted_bootstrap(over[name], len(labels), seed=seed)
    scores = {name: value.double().numpy() for name, value in per_image.items()}
    return Measured(values, intervals, per_image=scores, statistics=over)


def _counts(answers: Answers, labels: Tensor, classes: int) -> Overlap:
    """Count the overlap of the answers, where abstentions are no class."""
    label, abstain = answers.label, answers.abstain
    if abstain is not None:
        label = label.masked_fill(abstain.view(len(label), *abstain.shape[1:] or (1, 1)), classes)
    return overlap(label, labels, classes)


def _mean_accuracy(counts: Overlap) -> Statistic:
    """Return the mean accuracy over all pixels of the set, as a statistic."""
    both, wanted = counts.both.double(), counts.wanted.double()

    def over(drawn: np.ndarray) -> np.ndarray:
        weights = torch.tensor(drawn)
        return mean_accuracy(weights @ both, weights @ wanted).numpy()

    return over
