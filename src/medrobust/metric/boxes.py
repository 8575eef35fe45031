"""Metrics of a detector's boxes."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from medrobust.box.keep import SHOWN
from medrobust.box.matching import iou
from medrobust.metric.interval import Statistic, bootstrap, counted_bootstrap, weighted
from medrobust.metric.measured import Measured
from medrobust.prediction import Answers

THRESHOLDS: Final[dict[str, tuple[float, ...]]] = {
    "map": (0.25,),
    "map_50": (0.5,),
    "map_50_95": tuple(0.5 + 0.05 * step for step in range(10)),
}
"""IoU thresholds of the EAD 2019 challenge's evaluation code, of PASCAL VOC and of COCO."""
FOUND: Final = 0.5
"""Minimum IoU of a found box, in `recall` and in the attack success rate."""
_RECALLS: Final = torch.linspace(0, 1, 101).double().numpy()
"""Recalls at which COCO reads precision; rounded to float32, as in torchmetrics."""


def measure_boxes(
    labels: Tensor, clean: Answers, attacked: Answers, *, classes: int, seed: int
) -> Measured:
    """Compute mean average precision, IoU, recall and the attack success rate.

    `map`, `map_50` and `map_50_95` are torchmetrics' (COCO's matching and interpolation) at other
    IoU thresholds; classes without a true box are left out. `map` and `iou` follow the evaluation
    code of the EAD 2019 challenge, where a match needs IoU 0.25. `iou` averages over the answers of
    a class their IoU with the box that they match, 0 for unmatched ones, and then over the classes
    with a true box. Only answers with a score of at least `SHOWN` count; a class without them has
    IoU 0. `iou_best` averages over the true boxes: the IoU of the best such answer of the box's
    class, 0 if there is none. `recall` is the share of true boxes that an answer finds, see
    `share_found`. `clean_…` are the same on the clean images. Without any true box all of these are
    undefined and left out.

    What is recorded of each image: `boxes`, the number of true ones, and `found` and `clean_found`,
    how many of them an answer finds.

    Args:
        labels: true boxes (N, M, 5).
        clean: answers to the clean images.
        attacked: answers to the attacked images.
        classes: number of classes K.
        seed: seed of the bootstrap over images.
    """
    values: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    over: dict[str, Statistic] = {}
    if not (labels[..., 0] >= 0).any():
        return Measured(values, intervals)
    for prefix, answers in (("", attacked), ("clean_", clean)):
        tables = [Ranking(labels, answers, number) for number in range(classes)]
        for name, thresholds in THRESHOLDS.items():
            values[prefix + name] = torchmetrics_map(labels, answers, thresholds)
            if prefix and name != "map":
                continue
            parts = [table.hits(threshold) for threshold in thresholds for table in tables]
            over[prefix + name] = partial(mean_average_precision, parts)
        shown = [table.shown() for table in tables]
        every = np.ones((1, len(labels)))
        values[f"{prefix}iou"] = float(mean_iou(shown, every)[0])
        over[f"{prefix}iou"] = partial(mean_iou, shown)
    best, real = best_iou(labels, attacked)
    before, _ = best_iou(labels, clean)
    owner = real.nonzero()[:, 0].numpy()
    for name, hits in (
        ("iou_best", best[real].numpy()),
        ("recall", (best[real] >= FOUND).double().numpy()),
        ("clean_recall", (before[real] >= FOUND).double().numpy()),
    ):
        values[name] = float(hits.mean())
        over[name] = lambda counts, hits=hits: _weighted(hits, counts[:, owner])  # type: ignore[misc]
    for name, statistic in over.items():
        intervals[name] = counted_bootstrap(statistic, len(labels), seed=seed)
    # An image is lost when fewer than half of its boxes are found, as in the attacks' criterion.
    # An image without boxes cannot be lost.
    lost, held = _share(best, real) < 0.5, (_share(before, real) >= 0.5) & real.any(1)
    if held.any():
        array = lost[held].double().numpy()
        values["attack_success_rate"] = float(array.mean())
        intervals["attack_success_rate"] = bootstrap(
            lambda i: array[i].mean(), len(array), seed=seed
        )
        over["attack_success_rate"] = weighted(lost & held, held)
    record = {
        "boxes": real.sum(1),
        "clean_found": ((before >= FOUND) & real).sum(1).double(),
        "found": ((best >= FOUND) & real).sum(1).double(),
    }
    per_image = {name: value.numpy() for name, value in record.items()}
    return Measured(values, intervals, per_image=per_image, statistics=over)


def as_lists(
    label: Tensor, logit: Tensor, boxes: Tensor, y: Tensor
) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Convert answers and true boxes to torchmetrics' form, without padding.

    Args:
        label: (N, M), -1 in padding.
        logit: (N, M), used as scores, by which torchmetrics only ranks.
        boxes: (N, M, 4).
        y: true boxes (N, M', 5).
    """
    found = [
        {"boxes": b[own >= 0], "scores": s[own >= 0], "labels": own[own >= 0]}
        for own, s, b in zip(label, logit, boxes, strict=True)
    ]
    wanted = [
        {"boxes": one[one[:, 0] >= 0, 1:], "labels": one[one[:, 0] >= 0, 0].long()} for one in y
    ]
    return found, wanted


def torchmetrics_map(labels: Tensor, answers: Answers, thresholds: Sequence[float]) -> float:
    """Compute mean average precision by torchmetrics, for labels with a true box."""
    from torchmetrics.detection import MeanAveragePrecision

    assert answers.boxes is not None
    assert answers.box_logit is not None
    metric = MeanAveragePrecision(iou_thresholds=list(thresholds))
    metric.update(*as_lists(answers.label, answers.box_logit, answers.boxes, labels))
    return float(metric.compute()["map"])


class Ranking:
    """Answers of one class over a set of images, ranked by score, with their overlaps.

    Args:
        labels: true boxes (N, M, 5).
        answers: answers of a detector.
        number: the class.
    """

    def __init__(self, labels: Tensor, answers: Answers, number: int) -> None:
        assert answers.boxes is not None
        assert answers.box_logit is not None
        self.true = (labels[..., 0] == number).sum(1).numpy()  # (N,) boxes per image
        image, logit, overlaps = [], [], []
        for n in range(len(labels)):
            mine = answers.label[n] == number
            wanted = labels[n, labels[n, :, 0] == number, 1:].double()
            image += [n] * int(mine.sum())
            logit.append(answers.box_logit[n, mine])
            overlaps += list(iou(answers.boxes[n, mine].double(), wanted).numpy())
        every = torch.cat(logit)
        self.order = np.argsort(-every.numpy(), kind="stable")
        self.sure = (every.sigmoid() >= SHOWN).numpy()
        self.image, self.overlaps = np.array(image, dtype=np.int64), overlaps

    def matched(self, threshold: float) -> np.ndarray:
        """Return the IoU of each answer, by rank, with its matched true box, 0 if unmatched.

        By rank, each answer takes the free box of the largest IoU, if that reaches the threshold.
        """
        taken = [np.zeros(count, dtype=bool) for count in self.true]
        found = np.zeros(len(self.order))
        for place, at in enumerate(self.order):
            free = taken[self.image[at]]
            overlap = np.where(free, -1.0, self.overlaps[at])
            if len(overlap) and overlap.max() >= threshold:
                found[place] = overlap.max()
                free[overlap.argmax()] = True
        return found

    def hits(self, threshold: float) -> "Hits":
        """Return the answers, marked right or wrong at an IoU threshold."""
        return Hits(self.matched(threshold) > 0, self.image[self.order], self.true)

    def shown(self) -> "Hits":
        """Return the IoU of the answers above `SHOWN`, at the challenge's threshold."""
        matched, image = self.matched(THRESHOLDS["map"][0]), self.image[self.order]
        sure = self.sure[self.order]
        return Hits(matched[sure], image[sure], self.true)


class Hits:
    """Answers of one class in order of their scores.

    Args:
        worth: (D,), 1 or the IoU of a right answer, 0 of a wrong one.
        image: (D,), image of each answer.
        true: (N,), number of true boxes of each image.
    """

    def __init__(self, worth: np.ndarray, image: np.ndarray, true: np.ndarray) -> None:
        self.worth, self.image, self.true = worth.astype(np.float64), image, true


def mean_average_precision(parts: Sequence[Hits], counts: np.ndarray) -> np.ndarray:
    """Compute COCO's average precision, averaged over classes and thresholds with a true box.

    Args:
        parts: answers of each class at each threshold.
        counts: (R, N), weight of each image.

    Returns:
        (R,) in [0, 1]; NaN without any true box.
    """
    return _mean([average_precision(part, counts) for part in parts], len(counts))


def average_precision(part: Hits, counts: np.ndarray) -> np.ndarray:
    """Average the interpolated precision at 101 recalls, (R,); NaN without a true box."""
    total = counts @ part.true
    weight = counts[:, part.image]
    right = (weight * part.worth).cumsum(1)
    every = weight.cumsum(1)
    precision = np.divide(right, every, out=np.zeros_like(right), where=every > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    values = np.full(len(counts), np.nan)
    for row in np.flatnonzero(total > 0):
        place = np.searchsorted(right[row] / total[row], _RECALLS, side="left")
        padded = np.append(best[row], 0.0)
        values[row] = padded[np.minimum(place, len(padded) - 1)].mean()
    return values


def mean_iou(parts: Sequence[Hits], counts: np.ndarray) -> np.ndarray:
    """Average the IoU of the answers of each class with a true box, then the classes; (R,)."""
    found = []
    for part in parts:
        value = _weighted(part.worth, counts[:, part.image])
        found.append(np.where(counts @ part.true > 0, np.nan_to_num(value), np.nan))
    return _mean(found, len(counts))


def best_iou(labels: Tensor, answers: Answers) -> tuple[Tensor, Tensor]:
    """Return the IoU of each true box with the best shown answer of its class.

    Returns:
        float64 (N, M), 0 if there is no such answer; bool (N, M), False in padding.
    """
    assert answers.boxes is not None
    assert answers.box_logit is not None
    same = labels[..., :1].long() == answers.label.unsqueeze(1)
    sure = (answers.box_logit.sigmoid() >= SHOWN).unsqueeze(1)
    overlap = iou(labels[..., 1:].double(), answers.boxes.double())
    real = labels[..., 0] >= 0
    return overlap.where(same & sure & real.unsqueeze(2), 0.0).amax(2), real


def _share(best: Tensor, real: Tensor) -> Tensor:
    """Return the share of each image's boxes that are found; 1 for an image without boxes."""
    found = ((best >= FOUND) & real).sum(1).double() / real.sum(1).clamp(min=1)
    return found.where(real.any(1), 1.0)


def _weighted(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted mean over the last axis; NaN if all weights are zero."""
    total = weight.sum(1)
    return np.divide(weight @ values, total, out=np.full(len(total), np.nan), where=total > 0)


def _mean(parts: Sequence[Any], length: int) -> np.ndarray:
    """Return the mean over the parts that are defined; NaN if none is."""
    stacked = np.stack([np.full(length, np.nan), *parts])
    there = ~np.isnan(stacked)
    count = there.sum(0)
    total = np.where(there, stacked, 0.0).sum(0)
    return np.divide(total, count, out=np.full(length, np.nan), where=count > 0)
