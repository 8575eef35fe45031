"""Measures of boxes: by hand, and their intervals by torchmetrics on resampled images."""

import numpy as np
import pytest
import torch

from medrobust.metric.boxes import (
    THRESHOLDS,
    Ranking,
    average_precision,
    best_iou,
    mean_average_precision,
    mean_iou,
    measure_boxes,
    torchmetrics_map,
)
from medrobust.prediction import Answers
from tests.support.boxes import CLASSES, random_boxes

COUNT = 12


def answers(label, score, boxes):
    logit = score.float().logit()
    return Answers(label, None, None, None, None, 0.0, boxes=boxes.float(), box_logit=logit)


def noisy(y, seed, shift=4.0):
    """Answers near the true boxes, some of another class, some of nothing, the surest first."""
    generator = torch.Generator().manual_seed(seed)
    boxes = y[..., 1:] + shift * torch.randn(*y.shape[:2], 4, generator=generator)
    boxes = torch.cat([boxes, random_boxes(len(y), 3, seed + 1)[..., 1:]], 1)
    label = torch.cat([y[..., 0], torch.randint(CLASSES, (len(y), 3), generator=generator)], 1)
    swap = torch.rand(label.shape, generator=generator) < 0.2
    label = torch.where(swap & (label >= 0), (label + 1) % CLASSES, label).long()
    boxes[..., 2:] = boxes[..., :2] + (boxes[..., 2:] - boxes[..., :2]).clamp(min=1)
    score = torch.rand(label.shape, generator=generator).masked_fill(label < 0, 0.0)
    order = score.argsort(dim=1, descending=True)
    return answers(
        label.gather(1, order),
        score.gather(1, order),
        boxes.gather(1, order[..., None].expand(-1, -1, 4)),
    )


Y = random_boxes(COUNT, 4, seed=7)
FOUND = noisy(Y, 3)


def rows(found, index):
    return answers(found.label[index], found.box_logit[index].sigmoid(), found.boxes[index])


@pytest.mark.parametrize("name", THRESHOLDS)
def test_weighted_precision_is_torchmetrics_on_repeated_images(name):
    parts = [
        Ranking(Y, FOUND, number).hits(threshold)
        for threshold in THRESHOLDS[name]
        for number in range(CLASSES)
    ]
    drawn = np.random.default_rng(0).integers(0, COUNT, (3, COUNT))
    drawn[0] = np.arange(COUNT)
    counts = np.stack([np.bincount(row, minlength=COUNT) for row in drawn]).astype(float)
    ours = mean_average_precision(parts, counts)
    for row, value in zip(drawn, ours, strict=True):
        index = torch.from_numpy(row)
        theirs = torchmetrics_map(Y[index], rows(FOUND, index), THRESHOLDS[name])
        assert value == pytest.approx(theirs, abs=1e-6)
    assert 0.02 < ours[0] < 0.95


def test_perfect_and_empty_answers():
    label = Y[..., 0].long()
    perfect = answers(label, (label >= 0).float() * 0.9, Y[..., 1:])
    nothing = answers(
        label.clone().fill_(-1), torch.zeros(label.shape), torch.zeros(*label.shape, 4)
    )
    found = measure_boxes(Y, perfect, nothing, classes=CLASSES, seed=0)
    for name in ("map", "map_50", "map_50_95", "iou"):
        assert found.values[f"clean_{name}"] == pytest.approx(1, abs=1e-6)
        assert found.values[name] == 0
    assert found.values["recall"] == found.values["iou_best"] == 0
    assert found.values["clean_recall"] == found.values["attack_success_rate"] == 1
    assert found.intervals["map"] == [0, 0]
    assert found.confusion is None
    same = measure_boxes(Y, perfect, perfect, classes=CLASSES, seed=0)
    assert same.values["attack_success_rate"] == 0


def test_by_hand():
    """Two boxes of class 0: one found at IoU 1/2, then a second answer on it, then a false one."""
    y = torch.tensor([[[0.0, 0, 0, 10, 10], [0, 20, 20, 30, 30], [1, 0, 20, 10, 30]]])
    boxes = torch.tensor([[[0.0, 0, 10, 20], [0, 0, 10, 11], [40, 40, 50, 50], [20, 20, 30, 30]]])
    found = answers(torch.tensor([[0, 0, 0, 0]]), torch.tensor([[0.9, 0.8, 0.7, 0.1]]), boxes)
    measured = measure_boxes(y, found, found, classes=3, seed=0)
    # Three answers are shown: IoU 1/2, and nothing for the double and the false one. Class 1 has a
    # box and no answer; class 2 neither.
    assert measured.values["iou"] == pytest.approx((0.5 / 3 + 0) / 2)
    assert measured.values["iou_best"] == pytest.approx((10 / 11 + 0 + 0) / 3)
    assert measured.values["recall"] == pytest.approx(1 / 3)
    # Precision is 1 up to recall 1/2, then 2/4 with the weak answer.
    first = Ranking(y, found, 0).hits(0.25)
    value = average_precision(first, np.ones((1, 1)))[0]
    assert value == pytest.approx((51 * 1 + 50 * 0.5) / 101)
    assert measured.values["map"] == pytest.approx(value / 2, abs=1e-6)


def test_intervals_hold_their_values_and_follow_the_seed():
    measured = measure_boxes(Y, FOUND, noisy(Y, 5, shift=8.0), classes=CLASSES, seed=0)
    for name, (low, high) in measured.intervals.items():
        if name == "attack_success_rate":  # of so few images that it may be a point
            assert np.clip(measured.values[name], low, high) == measured.values[name]
        else:
            assert low < measured.values[name] < high, name
    assert {"map", "map_50", "map_50_95", "iou", "clean_map", "clean_iou"} <= set(
        measured.intervals
    )
    again = measure_boxes(Y, FOUND, noisy(Y, 5, shift=8.0), classes=CLASSES, seed=0)
    assert again.values == measured.values
    assert again.intervals == measured.intervals
    assert measured.values["map"] < measured.values["clean_map"]
    assert measured.values["map_50_95"] < measured.values["map_50"] < measured.values["map"]


def test_weights_of_iou_are_repetitions():
    shown = [Ranking(Y, FOUND, number).shown() for number in range(CLASSES)]
    counts = np.random.default_rng(1).multinomial(COUNT, [1 / COUNT] * COUNT)
    index = torch.from_numpy(np.repeat(np.arange(COUNT), counts))
    again = [Ranking(Y[index], rows(FOUND, index), number).shown() for number in range(CLASSES)]
    whole = mean_iou(again, np.ones((1, COUNT)))
    assert mean_iou(shown, counts[None].astype(float)) == pytest.approx(whole)


def test_best_iou_takes_no_other_class_and_no_weak_answer():
    y = torch.tensor([[[0.0, 0, 0, 10, 10], [-1, 0, 0, 0, 0]]])
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 5]]])
    found = answers(torch.tensor([[1, 0, 0]]), torch.tensor([[0.9, 0.2, 0.5]]), boxes)
    best, real = best_iou(y, found)
    assert best.tolist() == [[0.5, 0.0]]
    assert real.tolist() == [[True, False]]


def test_no_true_box_at_all():
    y = torch.zeros(2, 1, 5)
    y[..., 0] = -1
    found = rows(FOUND, torch.arange(2))
    measured = measure_boxes(y, found, found, classes=CLASSES, seed=0)
    assert measured.values == measured.intervals == {}  # nothing to be found: neither 0 nor NaN


def test_sure_answers_are_ranked_by_their_logits():
    """Scores of logits above 17 are all 1 in float32: the false answer would come first."""
    y = torch.tensor([[[0.0, 0, 0, 10, 10]]])
    boxes = torch.tensor([[[40.0, 40, 50, 50], [0, 0, 10, 10]]])
    logit = torch.tensor([[20.0, 30.0]])
    assert (logit.sigmoid() == 1).all()
    found = answers(torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 2), boxes)
    found = found._replace(box_logit=logit)
    measured = measure_boxes(y, found, found, classes=1, seed=0)
    assert measured.values["map"] == pytest.approx(1)
    assert measured.intervals["map"] == pytest.approx([1, 1])
