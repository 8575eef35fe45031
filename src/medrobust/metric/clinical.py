"""Clinical metrics of a classifier: F1, κ, MCC, calibration, sensitivity and specificity."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor

from medrobust.metric.interval import Statistic, counted_bootstrap, mean_where, share, weighted
from medrobust.metric.one_vs_rest import LEVELS, Last, OneVsRest, mean_auroc
from medrobust.prediction import Answers

BINS: Final = 15
"""Bins of equal width of the calibration error, as in Guo et al. 2017."""

Measures = tuple[dict[str, float], dict[str, list[float]], dict[str, Statistic]]


def measure_clinical(
    labels: Tensor,
    answers: Answers,
    *,
    classes: int,
    seed: int,
    graded: bool = False,
    thresholds: Sequence[float] | None = None,
) -> Measures:
    """Compute F1, κ, MCC, ECE, Brier score, sensitivity and specificity of a set of answers.

    Values equal those of torchmetrics, in float64 and from probabilities that never saturate.
    Metrics with the ending `_class_k` are of class k against the rest. Those without are class 1's
    where there are two classes, else means over the classes for which they are defined; `f1_macro`
    is a mean of both classes, too.

    An abstention is no positive and no correct answer: it is a false negative of its true class, no
    true negative of another, a prediction outside of the classes in MCC, and as far from every
    grade as two grades can be in κ. AUROC ranks it by its log-odds like any image. It states no
    probability, so ECE and Brier score are over the answered images.

    Args:
        labels: true classes (N,).
        answers: answers with log-odds.
        classes: number of classes K.
        seed: seed of the bootstrap over images.
        graded: the classes are grades in ascending order, so that κ is defined.
        thresholds: of the log-odds of each class, chosen on other images; NaN where a class has
            none. None leaves out the metrics `…_at_operating_point`.

    Returns:
        name -> value, name -> [low, high] at 95 %: Wilson's for shares of images, else a
        bootstrap; and name -> statistic. An undefined metric is left out. ECE has no interval,
        since a bootstrap's lies above its value.
    """
    assert answers.log_odds is not None
    answered = torch.ones_like(labels, dtype=torch.bool)
    if answers.abstain is not None:
        answered = ~answers.abstain
    measured = _Collected(len(labels), seed)
    said = answers.label.masked_fill(~answered, classes)
    counted = Confusion(labels.numpy(), said.numpy(), classes)
    measured.add("f1_macro", lambda counts: f1_macro(counted(counts)))
    measured.add("mcc", lambda counts: matthews(counted(counts)))
    if graded:
        measured.add("kappa_quadratic", lambda counts: kappa_quadratic(counted(counts)))
    for own in range(classes):
        measured.add(f"f1_class_{own}", lambda counts, own=own: f1(counted(counts))[:, own])  # type: ignore[misc]
    _calibration(measured, labels, answers, answered)
    _ranked(measured, labels, answers, answered)
    kinds = torch.arange(classes)
    _decided(measured, labels, said[:, None] == kinds, answered, "")
    if thresholds is not None:
        limits = torch.tensor(list(thresholds), dtype=torch.float64)
        called = (answers.log_odds >= limits) & answered[:, None]
        known = ~limits.isnan()
        _decided(measured, labels, called, answered, "_at_operating_point", known)
        measured.values |= {
            f"operating_threshold_class_{own}": float(limit)
            for own, limit in enumerate(thresholds)
            if np.isfinite(limit)
        }
    return measured.values, measured.intervals, measured.statistics


class _Collected:
    """Values, intervals and statistics of the metrics that are defined."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self.once = np.ones((1, n))
        self.values: dict[str, float] = {}
        self.intervals: dict[str, list[float]] = {}
        self.statistics: dict[str, Statistic] = {}

    def add(self, name: str, statistic: Statistic) -> None:
        """Add a metric with a bootstrap interval, if it is defined."""
        value = float(statistic(self.once)[0])
        if not np.isnan(value):
            self.values[name], self.statistics[name] = value, statistic
            self.intervals[name] = counted_bootstrap(statistic, self.n, seed=self.seed)

    def add_share(self, name: str, hits: Tensor, among: Tensor) -> None:
        """Add a share of some images with Wilson's interval, if there are any."""
        if among.any():
            self.values[name], self.intervals[name], self.statistics[name] = share(hits, among)


def _calibration(measured: _Collected, labels: Tensor, answers: Answers, answered: Tensor) -> None:
    """Add the calibration error and the Brier score."""
    assert answers.log_odds is not None
    chance = answers.log_odds.sigmoid()
    confidence = chance.gather(1, answers.label[:, None])[:, 0]
    gap = (answers.label == labels).double() - confidence
    if answered.any():
        # No interval: resampling adds noise to every bin, so that resamples have larger errors.
        over = calibration_error(confidence, gap, answered)
        measured.values["ece"] = float(over(measured.once)[0])
    wanted = torch.nn.functional.one_hot(labels, chance.shape[1])
    distance = (chance - wanted).square().sum(1)
    measured.add("brier", weighted(distance * answered, answered))


def _ranked(measured: _Collected, labels: Tensor, answers: Answers, answered: Tensor) -> None:
    """Add AUROC, mean and of each class, and sensitivity at fixed specificities."""
    assert answers.log_odds is not None
    scores, true = answers.log_odds.numpy(), labels.numpy()
    ranked = [OneVsRest(score, true == own, answered.numpy()) for own, score in enumerate(scores.T)]
    if 1 < len(np.unique(true)) == len(ranked):
        measured.add("auroc", partial(mean_auroc, ranked))
    for own, one in enumerate(ranked):
        measured.add(f"auroc_class_{own}", one.auroc)
    positive = ranked[1:] if len(ranked) == 2 else ranked
    for place, level in enumerate(LEVELS):
        name = f"sensitivity_at_{round(100 * level)}_specificity"
        measured.add(name, partial(_mean_sensitivity, positive, place))
        for own, one in enumerate(ranked):
            measured.add(f"{name}_class_{own}", partial(_mean_sensitivity, [one], place))


def _mean_sensitivity(ranked: Sequence[OneVsRest], place: int, counts: np.ndarray) -> np.ndarray:
    """Return the sensitivity at one of `LEVELS`, averaged over classes where it is defined."""
    found = np.stack([one.sensitivities(counts)[place] for one in ranked], axis=1)
    return mean_where(np.nan_to_num(found), np.ones_like(found), ~np.isnan(found))


def _decided(
    measured: _Collected,
    labels: Tensor,
    called: Tensor,
    answered: Tensor,
    suffix: str,
    known: Tensor | None = None,
) -> None:
    """Add sensitivity and specificity of decisions.

    Args:
        measured: takes them.
        labels: true classes (N,).
        called: bool (N, K), images that are called positive for each class.
        answered: bool (N,).
        suffix: end of the names.
        known: bool (K,), classes with a decision; None for all.
    """
    classes = called.shape[1]
    member = labels[:, None] == torch.arange(classes)
    there = torch.ones(classes, dtype=torch.bool) if known is None else known
    for name, right, among in (
        ("sensitivity", called & member, member),
        ("specificity", ~called & ~member & answered[:, None], ~member),
    ):
        among = among & there
        if classes == 2:
            measured.add_share(name + suffix, right[:, 1], among[:, 1])
        else:
            measured.add(name + suffix, mean_share(right & among, among))
        for own in range(classes):
            measured.add_share(f"{name}{suffix}_class_{own}", right[:, own], among[:, own])


def mean_share(right: Tensor, among: Tensor) -> Statistic:
    """Return the statistic "share of right images among some, averaged over the classes".

    Args:
        right: bool (N, K).
        among: bool (N, K); a class without weight is left out of the mean.
    """
    above, below = right.double().numpy(), among.double().numpy()

    def over(counts: np.ndarray) -> np.ndarray:
        total = counts @ below
        return mean_where(counts @ above, total, total > 0)

    return over


class Confusion:
    """Weighted confusion matrices of the same answers.

    Args:
        true: (N,) classes.
        said: (N,) answers; K for an abstention.
        classes: number of classes K.
    """

    def __init__(self, true: np.ndarray, said: np.ndarray, classes: int) -> None:
        self.place, self.classes = true * (classes + 1) + said, classes
        self._last = Last(self._matrices)

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Return the weight of each true class × answer, (R, K, K + 1), for weights (R, N)."""
        return self._last(counts)[0]

    def _matrices(self, counts: np.ndarray) -> tuple[np.ndarray, ...]:
        rows, size = len(counts), self.classes * (self.classes + 1)
        places = self.place + size * np.arange(rows)[:, None]
        found = np.bincount(places.ravel(), counts.ravel(), minlength=rows * size)
        return (found.reshape(rows, self.classes, self.classes + 1),)


def f1(matrices: np.ndarray) -> np.ndarray:
    """Return F1 of each class, 2 TP / (2 TP + FP + FN), (R, K).

    It is NaN for a class without a true image and without an answer.

    Args:
        matrices: of `Confusion`, (R, K, K + 1).
    """
    wanted, said = matrices.sum(2), matrices.sum(1)[:, :-1]
    right = np.diagonal(matrices, axis1=1, axis2=2)
    total = wanted + said
    return np.divide(2 * right, total, out=np.full_like(total, np.nan), where=total > 0)


def f1_macro(matrices: np.ndarray) -> np.ndarray:
    """Return the mean F1 over the classes for which it is defined, (R,)."""
    found = f1(matrices)
    return mean_where(np.nan_to_num(found), np.ones_like(found), ~np.isnan(found))


def matthews(matrices: np.ndarray) -> np.ndarray:
    """Return the Matthews correlation coefficient for several classes (Gorodkin 2004), (R,).

    It is in [-1, 1], 0 where all answers are the same, and NaN where all images are of one class.

    Args:
        matrices: of `Confusion`, (R, K, K + 1).
    """
    wanted, said = matrices.sum(2), matrices.sum(1)
    total = wanted.sum(1)
    right = np.diagonal(matrices, axis1=1, axis2=2).sum(1)
    covariance = right * total - (wanted * said[:, :-1]).sum(1)
    spread, spread_said = (total**2 - (part**2).sum(1) for part in (wanted, said))
    both = np.sqrt(spread * spread_said)
    found = np.divide(covariance, both, out=np.zeros_like(both), where=both > 0)
    return np.where(spread > 0, found, np.nan)


def kappa_quadratic(matrices: np.ndarray) -> np.ndarray:
    """Return Cohen's κ with quadratic weights (Cohen 1968), (R,).

    It is 1 - Σ w O / Σ w E, with the squared distance of two grades as their weight w, that of the
    extreme grades for an abstention, observed O and expected E by chance; at most 1, 0 for chance,
    and NaN where no disagreement is possible.

    Args:
        matrices: of `Confusion`, (R, K, K + 1), classes in ascending order of the grades.
    """
    classes = matrices.shape[1]
    grades = np.arange(classes)
    weight = np.full((classes, classes + 1), float((classes - 1) ** 2))
    weight[:, :-1] = (grades[:, None] - grades) ** 2
    total = matrices.sum((1, 2))
    seen = (weight * matrices).sum((1, 2)) * total
    chance = np.einsum("rk,kj,rj->r", matrices.sum(2), weight, matrices.sum(1))
    return 1 - np.divide(seen, chance, out=np.full_like(total, np.nan), where=chance > 0)


def calibration_error(confidence: Tensor, gap: Tensor, answered: Tensor) -> Statistic:
    """Return the expected calibration error of the leading class as a statistic.

    ECE = Σ_b |Σ_{i in b} w_i (right_i - confidence_i)| / Σ w over `BINS` bins of equal width
    (Naeini et al. 2015, Guo et al. 2017); the last bin includes 1.

    Args:
        confidence: (N,) probability of the leading class.
        gap: (N,) 1 or 0 for a right or wrong answer, minus the confidence.
        answered: bool (N,), images that count.
    """
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1]
    inside = torch.bucketize(confidence, edges, right=True)[:, None] == torch.arange(BINS)
    parts = (inside * (gap * answered)[:, None]).numpy()
    below = answered.double().numpy()

    def over(counts: np.ndarray) -> np.ndarray:
        total = counts @ below
        off = np.abs(counts @ parts).sum(1)
        return np.divide(off, total, out=np.full_like(total, np.nan), where=total > 0)

    return over
