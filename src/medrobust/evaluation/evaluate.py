"""Measure one cell: craft or replay, let the deployed system answer, measure, check."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from medrobust.attack.criterion.jaccard_below import lost_below
from medrobust.attack.loss.stress import Stress
from medrobust.defense.core.detector import Detector
from medrobust.defense.core.learned import remarks
from medrobust.evaluation.adversarial import AdversarialSet, adversarial_set
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.checks import coarsest_quantization, flags
from medrobust.evaluation.operating_point import thresholds
from medrobust.evaluation.predict import answers
from medrobust.evaluation.record.feature_mean import feature_means
from medrobust.evaluation.record.overhead import overhead
from medrobust.metric.boxes import measure_boxes
from medrobust.metric.classification import measure_classification
from medrobust.metric.detector import measure_detection
from medrobust.metric.measured import Measured, over_draws, over_groups
from medrobust.metric.perturbation import measure_perturbation
from medrobust.metric.segmentation import measure_segmentation
from medrobust.prediction import Answers
from medrobust.result.flag import Flag
from medrobust.result.scores import Scores
from medrobust.task import Task, check_labels, task_of

_MEASURES: Mapping[Task, Callable[..., Measured]] = {
    "classification": measure_classification,
    "segmentation": measure_segmentation,
    "detection": measure_boxes,
}


@dataclass(frozen=True)
class Result:
    """Result of one cell.

    Attributes:
        measured: metrics and intervals.
        attacked: the adversarial set.
        before: the deployed system's answers to the clean images, in its first draw.
        after: its answers to the adversarial set, in its first draw.
        checks: attack-strength measurements.
        flags: failed ones, and remarks on the defense's weights.
        seconds: `craft`, `defend` (all draws) and `per_image` (of one defended answer); of a
            detector those of `overhead`, too.
        keys: entries of the cache that this is made of.
        scores: of a detector in its first draw, for figures.
    """

    measured: Measured
    attacked: AdversarialSet
    before: Answers
    after: Answers
    checks: dict[str, float]
    flags: list[Flag]
    seconds: dict[str, float]
    keys: dict[str, str]
    scores: Scores | None = None


def evaluate(cell: Cell, runner: Runner) -> Result:
    """Craft or replay the adversarial set, let the deployed system answer, and measure.

    Raises:
        LabelError: a label is none of the classes.
        UnfrozenError: victim or defense is in training mode.
    """
    check_labels(cell.clean.labels, cell.classes)
    attacked = adversarial_set(
        cell.surrogate,
        cell.attack,
        cell.clean,
        runner,
        seed=cell.seed,
        quantize=cell.quantize,
        data=cell.data,
        watched=cell.perturbation,
    )
    draws = [
        tuple(
            answers(cell.defense, cell.victim, images, runner, seed=cell.seed, draw=draw)
            for images in (cell.clean, attacked.images)
        )
        for draw in range(cell.draws)
    ]
    changed = attacked.checks["linf_max"] > 0
    limits, chosen_on = thresholds(cell, runner)
    measured = over_draws(
        [_measured(cell, *draw, changed=changed, thresholds=limits) for draw in draws],
        n=len(cell.clean),
        seed=cell.seed,
        groups=_groups(cell),
    )
    measured.add(*_of_attack(cell, attacked))
    before, after = draws[0]
    cost = {}
    if isinstance(cell.attack.loss, Stress):
        measured.add(feature_means(cell.attack.loss, cell, attacked.images, runner))
    if isinstance(cell.defense, Detector):
        cost = overhead(cell.defense, cell, runner)
    defend = sum(answered.seconds for _, answered in draws)
    seconds = {
        "craft": attacked.seconds,
        "defend": defend,
        "per_image": defend / len(draws) / len(cell.clean),
    }
    keys = {"adversarial_set": attacked.key, "validation_answers": chosen_on}
    for draw, pair in enumerate(draws):
        for name, answered in zip(("clean_answers", "answers"), pair, strict=True):
            keys[f"{name}_{draw}" if draw else name] = answered.key
    return Result(
        measured=measured,
        attacked=attacked,
        before=before,
        after=after,
        checks=attacked.checks,
        flags=[
            *flags(
                attacked.checks,
                cell.attack,
                random=cell.surrogate.random,
                quantization=coarsest_quantization(cell.surrogate),
            ),
            *remarks(cell.defense),
        ],
        seconds=seconds | cost,
        keys={name: key for name, key in keys.items() if key is not None},
        scores=_scores(cell.clean.labels, before, after, changed),
    )


def _measured(
    cell: Cell,
    before: Answers,
    after: Answers,
    *,
    changed: bool,
    thresholds: Sequence[float] | None,
) -> Measured:
    """Return the metrics of the task, and those of a detector, in one draw of the defense."""
    task = task_of(cell.clean.labels)
    measure = _MEASURES[task]
    if task == "segmentation":
        measure = partial(measure, level=lost_below(cell.attack.criterion).level)
    elif task == "classification":
        graded = cell.data is not None and cell.data.graded
        measure = partial(measure, graded=graded, thresholds=thresholds)
    found = measure(cell.clean.labels, before, after, classes=cell.classes, seed=cell.seed)
    if before.score is not None and task == "classification":
        found.add(
            *measure_detection(cell.clean.labels, before, after, changed=changed, seed=cell.seed)
        )
    groups = _groups(cell)
    return found if groups is None else over_groups(found, groups, seed=cell.seed)


def _groups(cell: Cell) -> NDArray[np.int64] | None:
    return None if cell.clean.groups is None else cell.clean.groups.array


def _of_attack(
    cell: Cell, attacked: AdversarialSet
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return counts of queries, and how rough the perturbations are, with intervals."""
    values = {} if attacked.queries is None else _query_counts(attacked.queries)
    if not cell.perturbation:
        return values, {}
    rough, intervals = measure_perturbation(
        *(cell.clean.images, attacked.images.images),
        cell.attack.eps if cell.attack.norm == "linf" else None,
        attacked.course,
        seed=cell.seed,
        groups=_groups(cell),
    )
    return values | rough, intervals


def _scores(labels: torch.Tensor, before: Answers, after: Answers, changed: bool) -> Scores | None:
    """Return the scores that figures of a classifier's detector show; None without a threshold."""
    if before.score is None or after.score is None or after.threshold is None:
        return None
    if task_of(labels) != "classification":
        return None
    right = before.label == labels
    return Scores(
        clean=before.score.double().numpy(),
        adversarial=after.score.double().numpy(),
        right=right.numpy(),
        fooled=(right & (after.label != labels)).numpy(),
        threshold=float(after.threshold[0]),
        changed=changed,
    )


def _query_counts(queries: torch.Tensor) -> dict[str, float]:
    """Queries per image of a black-box attack, over all images."""
    counts = queries.double()
    return {
        "queries_mean": counts.mean().item(),
        "queries_median": counts.median().item(),
        "queries_max": counts.max().item(),
    }
