"""Measure one cell: craft or replay, let the deployed system answer, measure, check."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from medrobust.attack.core.base import Attack
from medrobust.attack.criterion.jaccard_below import lost_below
from medrobust.attack.loss.stress import Stress
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.defense.core.detector import Detector
from medrobust.defense.core.learned import remarks
from medrobust.evaluation.adversarial import AdversarialSet, adversarial_set
from medrobust.evaluation.checks import flags
from medrobust.evaluation.predict import answers
from medrobust.evaluation.progress.progress import bar
from medrobust.evaluation.record.feature_mean import feature_means
from medrobust.evaluation.record.overhead import overhead
from medrobust.metric.boxes import measure_boxes
from medrobust.metric.classification import Measured, measure_classification
from medrobust.metric.detector import measure_detection
from medrobust.metric.perturbation import measure_perturbation
from medrobust.metric.segmentation import measure_segmentation
from medrobust.model.core.victim import Victim
from medrobust.prediction import Answers
from medrobust.result.scores import Scores
from medrobust.task import Task, check_labels, task_of
from medrobust.threat.surrogate import Surrogate

if TYPE_CHECKING:
    from medrobust.evaluation.batches.shard import Shards

_MEASURES: Mapping[Task, Callable[..., Measured]] = {
    "classification": measure_classification,
    "segmentation": measure_segmentation,
    "detection": measure_boxes,
}


@dataclass(frozen=True)
class Result:
    """What one cell gave.

    Attributes:
        measured: metrics and intervals.
        attacked: the adversarial set.
        before: the deployed system's answers to the clean images.
        after: its answers to the adversarial set.
        checks: attack-strength measurements.
        flags: failed ones, and remarks on the defense's weights, in plain words.
        seconds: `craft`, `defend` and `per_image` (of the defended answer); of a detector those of
            `overhead`, too.
        keys: entries of the cache that this is made of.
        scores: of a detector, for figures.
    """

    measured: Measured
    attacked: AdversarialSet
    before: Answers
    after: Answers
    checks: dict[str, float]
    flags: list[str]
    seconds: dict[str, float]
    keys: dict[str, str]
    scores: Scores | None = None


def evaluate(
    *,
    victim: Victim,
    defense: Defense,
    surrogate: Surrogate,
    attack: Attack,
    clean: ImageSet,
    classes: int,
    seed: int,
    quantize: bool,
    batch_size: int,
    device: torch.device,
    cache: TensorCache,
    shards: "Shards | None" = None,
    data: Any = None,
    perturbation: bool = False,
) -> Result:
    """One cell of the benchmark.

    Args:
        victim: frozen, on `device`.
        defense: deployed, on `device`.
        surrogate: what the threat lets the attacker see.
        attack: crafts on the surrogate.
        clean: images, labels and ids to attack.
        classes: K.
        seed: the run's seed.
        quantize: hand over 8-bit images.
        batch_size: images at once; changes no result.
        device: where to compute.
        cache: where adversarial sets and answers are kept.
        shards: processes on several devices; changes no result. None = `device` alone.
        data: datamodule that a learning attack learns from.
        perturbation: measure how rough the perturbations are and how steady their course, too.

    Raises:
        LabelError: a label is none of the classes.
        UnfrozenError: victim or defense is in training mode.
    """
    check_labels(clean.labels, classes)
    # What travels to other processes must not carry a bar's hooks.
    watch = surrogate if shards is None else None
    with bar("craft", len(clean), watch=watch) as advance:
        attacked = adversarial_set(
            surrogate,
            attack,
            clean,
            seed=seed,
            quantize=quantize,
            batch_size=batch_size,
            device=device,
            cache=cache,
            shards=shards,
            advance=advance,
            data=data,
            watched=perturbation,
        )
    with bar("answer", 2 * len(clean), watch=victim if shards is None else None) as advance:
        before, after = (
            answers(
                defense,
                victim,
                images,
                seed=seed,
                batch_size=batch_size,
                device=device,
                cache=cache,
                shards=shards,
                advance=advance,
            )
            for images in (clean, attacked.images)
        )
    task = task_of(clean.labels)
    measure = _MEASURES[task]
    if task == "segmentation":
        measure = partial(measure, level=lost_below(attack.criterion).level)
    measured = measure(clean.labels, before, after, classes=classes, seed=seed)
    if attacked.queries is not None:
        measured.values.update(_query_counts(attacked.queries))
    if perturbation:
        values, intervals = measure_perturbation(
            *(clean.images, attacked.images.images),
            attack.eps if attack.norm == "linf" else None,
            attacked.course,
            seed=seed,
        )
        measured.values.update(values)
        measured.intervals.update(intervals)
    scores, cost = None, {}
    if before.score is not None and task == "classification":
        changed = attacked.checks["linf_max"] > 0
        values, intervals = measure_detection(
            clean.labels, before, after, changed=changed, seed=seed
        )
        measured.values.update(values)
        measured.intervals.update(intervals)
        scores = _scores(clean.labels, before, after, changed)
    if isinstance(attack.loss, Stress):
        measured.values.update(
            feature_means(
                *(attack.loss, victim, defense, clean, attacked.images),
                seed=seed,
                batch_size=batch_size,
                device=device,
            )
        )
    if isinstance(defense, Detector):
        cost = overhead(defense, victim, clean, seed=seed, batch_size=batch_size, device=device)
    return Result(
        measured=measured,
        attacked=attacked,
        before=before,
        after=after,
        checks=attacked.checks,
        flags=[
            *flags(attacked.checks, attack, random=surrogate.random),
            *remarks(defense),
        ],
        seconds={
            "craft": attacked.seconds,
            "defend": after.seconds,
            "per_image": after.seconds / len(clean),
        }
        | cost,
        keys={
            name: made.key
            for name, made in (
                ("adversarial_set", attacked),
                ("clean_answers", before),
                ("answers", after),
            )
            if made.key is not None
        },
        scores=scores,
    )


def _scores(labels: torch.Tensor, before: Answers, after: Answers, changed: bool) -> Scores | None:
    """What figures of a detector are drawn from; None without a threshold."""
    if before.score is None or after.score is None or after.threshold is None:
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
