"""What is measured of a classifier's answers."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_confusion_matrix,
)

from medrobust.evaluation.predict import Answers
from medrobust.metric.interval import bootstrap, proportion


class Measured(NamedTuple):
    """Metrics of one cell.

    Attributes:
        values: name -> value.
        intervals: name -> [low, high], 95 %.
        confusion: counts under attack, true × predicted; None for segmentation.
        clean_confusion: the same on the clean images.
    """

    values: dict[str, float]
    intervals: dict[str, list[float]]
    confusion: list[list[int]] | None = None
    clean_confusion: list[list[int]] | None = None


def measure_classification(
    labels: Tensor, clean: Answers, attacked: Answers, *, classes: int, seed: int
) -> Measured:
    """Metrics of the answers under attack, with those on clean images to compare.

    An abstention is counted as an error in `accuracy`, since the clinic gets no diagnosis:
    `accuracy_vote` takes the leading class all the same, and `accuracy_answered` is over the
    answered images only.

    Args:
        labels: true classes (N,).
        clean: answers to the clean images.
        attacked: answers to the attacked images.
        classes: K.
        seed: of the bootstrap.
    """
    assert attacked.probability is not None
    vote = attacked.label == labels
    silent = torch.zeros_like(vote) if attacked.abstain is None else attacked.abstain
    clean_silent = torch.zeros_like(vote) if clean.abstain is None else clean.abstain
    right, right_before = vote & ~silent, (clean.label == labels) & ~clean_silent
    shares = {"accuracy": right, "clean_accuracy": right_before}
    if right_before.any():
        # A refusal to answer is no wrong diagnosis: only an answered error is a success.
        shares["attack_success_rate"] = (~vote & ~silent)[right_before]
    if attacked.abstain is not None:
        shares |= {"abstention_rate": silent, "accuracy_vote": vote}
        if not silent.all():
            shares["accuracy_answered"] = vote[~silent]
    values, intervals = {}, {}
    for name, hits in shares.items():
        values[name], intervals[name] = proportion(hits)

    # Balanced accuracy counts an abstention as an answer outside the classes.
    answer = attacked.label.masked_fill(silent, classes)
    true, said = labels.numpy(), answer.numpy()
    balanced = multiclass_accuracy(answer, labels, num_classes=classes + 1, average="none")
    present = np.unique(true)
    values["balanced_accuracy"] = balanced[torch.from_numpy(present)].double().mean().item()
    intervals["balanced_accuracy"] = bootstrap(
        lambda i: float(np.mean([(said[i] == c)[true[i] == c].mean() for c in np.unique(true[i])])),
        len(true),
        seed=seed,
    )
    if len(present) == classes:
        auroc = multiclass_auroc(attacked.probability, labels, num_classes=classes)
        values["auroc"] = auroc.double().item()
        probability = attacked.probability.numpy()
        intervals["auroc"] = bootstrap(
            lambda i: macro_auroc(probability[i], true[i]), len(true), seed=seed
        )
    if attacked.confidence is not None:
        rm = attacked.confidence.double().numpy()
        values["robust_metric"] = float(rm.mean())
        intervals["robust_metric"] = bootstrap(lambda i: rm[i].mean(), len(rm), seed=seed)
    after, before = (
        multiclass_confusion_matrix(answers.label, labels, num_classes=classes).tolist()
        for answers in (attacked, clean)
    )
    return Measured(values, intervals, after, before)


def macro_auroc(probability: np.ndarray, true: np.ndarray) -> float:
    """One-against-rest AUROC from ranks (Mann-Whitney), mean over the classes that are there.

    Args:
        probability: (N, K).
        true: (N,) classes.

    Returns:
        In [0, 1]; NaN when fewer than two classes are present.
    """
    ranks = rankdata(probability, axis=0)
    positive = true[:, None] == np.arange(probability.shape[1])
    hits = positive.sum(0)
    ok = (hits > 0) & (hits < len(true))
    wins = (ranks * positive).sum(0) - hits * (hits + 1) / 2
    return float((wins[ok] / (hits[ok] * (len(true) - hits[ok]))).mean()) if ok.any() else np.nan
