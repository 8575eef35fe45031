"""Metrics of a classifier's answers."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
)

from medrobust.metric.certified import certified_shares
from medrobust.metric.clinical import measure_clinical
from medrobust.metric.interval import (
    Statistic,
    bootstrap,
    counted_bootstrap,
    mean_where,
    share,
    weighted,
)
from medrobust.metric.measured import Measured
from medrobust.metric.robust_metric import robust_shares
from medrobust.prediction import Answers


def measure_classification(
    labels: Tensor,
    clean: Answers,
    attacked: Answers,
    *,
    classes: int,
    seed: int,
    graded: bool = False,
    thresholds: Sequence[float] | None = None,
) -> Measured:
    """Compute the metrics of the answers under attack and on clean images.

    An abstention counts as an error in `accuracy`, since the clinic gets no diagnosis;
    `accuracy_vote` takes the leading class regardless, and `accuracy_answered` is over the answered
    images only. The defense's values for each image (`details`) are averaged over the images, under
    their own names.

    What is recorded of each image: `label`, the true class; `answer`, the predicted class, of an
    abstention the leading one; `correct`, 1 if it is answered with the true class, else 0;
    `abstained`, where the defense may; `detected`, whether a detector's score exceeds its
    threshold; `log_odds` of the true class, which never saturate (its probability is
    1 / (1 + exp(-log_odds))). `clean_` is the same before the attack.

    Args:
        labels: true classes (N,).
        clean: answers to the clean images.
        attacked: answers to the attacked images.
        classes: number of classes K.
        seed: seed of the bootstrap.
        graded: the classes are grades in ascending order.
        thresholds: of each class's log-odds, see `measure_clinical`.
    """
    vote = attacked.label == labels
    silent = torch.zeros_like(vote) if attacked.abstain is None else attacked.abstain
    clean_silent = torch.zeros_like(vote) if clean.abstain is None else clean.abstain
    right, right_before = vote & ~silent, (clean.label == labels) & ~clean_silent
    shares = {"accuracy": right, "clean_accuracy": right_before}
    among = {}  # the images that a share is about, where it is not about all
    if right_before.any():
        # An abstention is no wrong diagnosis: only an answered error is a success.
        shares["attack_success_rate"] = ~vote & ~silent
        among["attack_success_rate"] = right_before
    if attacked.abstain is not None:
        shares |= {"abstention_rate": silent, "accuracy_vote": vote}
        if not silent.all():
            shares["accuracy_answered"], among["accuracy_answered"] = vote, ~silent
    if "rm_robust" in attacked.details:
        shares |= robust_shares(right, attacked.details["rm_robust"])
    if "certified_radius" in clean.details:
        shares |= certified_shares(right_before, clean.details["certified_radius"])
    values: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    over: dict[str, Statistic] = {}
    for name, hits in shares.items():
        values[name], intervals[name], over[name] = share(hits, among.get(name))

    # Balanced accuracy counts an abstention as an answer outside the classes.
    answer = attacked.label.masked_fill(silent, classes)
    true, said = labels.numpy(), answer.numpy()
    balanced = multiclass_accuracy(answer, labels, num_classes=classes + 1, average="none")
    present = np.unique(true)
    values["balanced_accuracy"] = balanced[torch.from_numpy(present)].double().mean().item()
    over["balanced_accuracy"] = lambda counts: balanced_accuracy(said, true, counts)
    values["fpr_macro"] = float(macro_fpr(said, true, np.ones((1, len(true))), classes)[0])
    over["fpr_macro"] = lambda counts: macro_fpr(said, true, counts, classes)
    if right_before.any():
        had, kept = right_before.double().numpy(), right.double().numpy()
        values["accuracy_decrease_relative"] = float(1 - kept.mean() / had.mean())
        over["accuracy_decrease_relative"] = lambda counts: _decrease(had, kept, counts)
    for name in [name for name in over if name not in shares]:
        intervals[name] = counted_bootstrap(over[name], len(true), seed=seed)
    means = {} if attacked.confidence is None else {"robust_metric": attacked.confidence}
    for name, value in (means | dict(attacked.details)).items():
        if value.dtype == torch.bool:
            values[name], intervals[name], over[name] = share(value)
            continue
        numbers = value.double().numpy()
        values[name] = float(numbers.mean())
        intervals[name] = bootstrap(lambda i, a=numbers: a[i].mean(), len(numbers), seed=seed)  # type: ignore[misc]
        over[name] = weighted(value)
    for prefix, one in (("", attacked), ("clean_", clean)):
        more = measure_clinical(
            labels, one, classes=classes, seed=seed, graded=graded, thresholds=thresholds
        )
        values |= {prefix + name: value for name, value in more[0].items()}
        intervals |= {prefix + name: interval for name, interval in more[1].items()}
        over |= {prefix + name: statistic for name, statistic in more[2].items()}
    if "copies" in attacked.details:
        values["copies_median"] = float(attacked.details["copies"].double().quantile(0.5))
    after, before = (
        multiclass_confusion_matrix(answers.label, labels, num_classes=classes).tolist()
        for answers in (attacked, clean)
    )
    record = {
        "label": labels,
        "clean_answer": clean.label,
        "answer": attacked.label,
        "clean_correct": right_before.double(),
        "correct": right.double(),
    }
    for prefix, found in (("clean_", clean), ("", attacked)):
        record |= {f"{prefix}{name}": value for name, value in _decided(found, labels).items()}
    per_image = {name: value.numpy() for name, value in record.items()}
    return Measured(values, intervals, after, before, per_image, over)


def _decided(answers: Answers, labels: Tensor) -> dict[str, Tensor]:
    """Return abstentions, rejections and the log-odds of the true class, float64 (N,) each."""
    found = {}
    if answers.abstain is not None:
        found["abstained"] = answers.abstain.double()
    if answers.score is not None and answers.threshold is not None:
        found["detected"] = (answers.score > answers.threshold).double()
    if answers.log_odds is not None:
        found["log_odds"] = answers.log_odds.gather(1, labels[:, None])[:, 0]
    return found


def balanced_accuracy(said: np.ndarray, true: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the recall of each class, averaged over the classes that are present.

    Args:
        said: (N,) answers.
        true: (N,) classes.
        counts: (R, N), how often each image counts.

    Returns:
        (R,) in [0, 1].
    """
    member = true[:, None] == np.unique(true)
    there = counts @ member
    right = counts @ (member & (said == true)[:, None])
    return mean_where(right, there, there > 0)


def macro_fpr(said: np.ndarray, true: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """Return the one-vs-rest false-positive rate, averaged over the classes.

    The rate of a class is the share of the images of other classes that are answered with it. A
    class that all images belong to is left out.

    Args:
        said: (N,) answers.
        true: (N,) classes.
        counts: (R, N), how often each image counts.
        classes: number of classes K; an answer outside, such as an abstention, is no false
            positive.

    Returns:
        (R,) in [0, 1].
    """
    kinds = np.arange(classes)
    outside = true[:, None] != kinds
    negatives = counts @ outside
    wrong = counts @ (outside & (said[:, None] == kinds))
    return mean_where(wrong, negatives, negatives > 0)


def _decrease(before: np.ndarray, after: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return 1 - accuracy after / accuracy before, (R,); NaN if the latter is zero."""
    had, left = counts @ before, counts @ after
    return 1 - np.divide(left, had, out=np.full(len(had), np.nan), where=had > 0)
