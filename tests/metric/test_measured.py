"""Metrics averaged over draws of a defense, for masks and boxes, and their records."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from medrobust.metric.boxes import measure_boxes
from medrobust.metric.measured import Measured, over_draws
from medrobust.metric.segmentation import measure_segmentation
from medrobust.prediction import Answers
from tests.metric.test_boxes import CLASSES, FOUND, Y, noisy


def masks(seed: int, wrong: float) -> tuple[Tensor, Answers]:
    """True masks, and answers with a share of random pixels."""
    truth = torch.randint(0, 3, (9, 6, 6), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    other = torch.randint(0, 3, truth.shape, generator=generator)
    hit = torch.rand(truth.shape, generator=generator) < wrong
    return truth, Answers(other.where(hit, truth), None, None, None, None, 0.0)


def segmentation_draw(seed: int) -> Measured:
    truth, clean = masks(seed, 0.1)
    return measure_segmentation(truth, clean, masks(seed + 9, 0.6)[1], classes=3, seed=0)


def box_draw(seed: int) -> Measured:
    attacked = noisy(Y, seed, shift=8.0)
    return measure_boxes(Y, FOUND, attacked, classes=CLASSES, seed=0)


@pytest.mark.by_default("segmentation_draw-9")
@pytest.mark.parametrize(("draw", "n"), [(segmentation_draw, 9), (box_draw, len(Y))])
def test_values_are_means_and_intervals_those_of_the_mean(draw, n: int) -> None:
    draws = [draw(seed) for seed in (1, 2, 3)]
    assert over_draws(draws[:1], n=n, seed=0) is draws[0]
    found = over_draws(draws, n=n, seed=0)
    for name, value in found.values.items():
        own = [one.values[name] for one in draws if name in one.values]
        assert value == pytest.approx(np.mean(own)), name
    assert set(found.intervals) == set().union(*(one.intervals for one in draws))
    for name in found.intervals:
        low, high = found.intervals[name]
        assert low <= found.values[name] + 0.1
        assert high >= found.values[name] - 0.1
    same = over_draws(draws[:1] * 3, n=n, seed=0)
    for name, interval in draws[0].intervals.items():
        if "success" not in name and "map_50" not in name:  # Wilson's; a resample of the lost
            assert same.intervals[name] == pytest.approx(interval), name


@pytest.mark.parametrize("draw", [segmentation_draw, box_draw])
def test_statistics_give_the_values_at_equal_weights(draw) -> None:
    found = draw(1)
    assert set(found.statistics) == set(found.intervals)
    for name, over in found.statistics.items():
        n = len(next(iter(found.per_image.values())))
        assert over(np.ones((2, n))) == pytest.approx(found.values[name], abs=1e-6), name


def test_the_record_of_boxes_sums_to_recall() -> None:
    found = box_draw(1)
    record = found.per_image
    assert record["boxes"].sum() == (Y[..., 0] >= 0).sum()
    for name, metric in (("found", "recall"), ("clean_found", "clean_recall")):
        assert (record[name] <= record["boxes"]).all()
        assert record[name].sum() / record["boxes"].sum() == pytest.approx(found.values[metric])


def test_the_record_of_masks_has_the_means_of_the_row() -> None:
    draws = [segmentation_draw(seed) for seed in (1, 2)]
    found = over_draws(draws, n=9, seed=0)
    drawn = np.stack([found.per_image.pop(f"dice_draw_{k}") for k in (1, 2)])
    np.testing.assert_array_equal(drawn.mean(0), found.per_image["dice"])
    for name, value in found.per_image.items():
        assert value.mean() == pytest.approx(found.values[name])


def test_a_metric_that_some_draws_leave_open_is_the_mean_of_the_others() -> None:
    half = partial(np.full, fill_value=0.5)
    per_image = {"correct": np.array([1.0, 0.0])}
    one = Measured({"a": 0.5}, {"a": [0, 1]}, [[1]], None, per_image, {"a": lambda w: half(len(w))})
    other = Measured({}, {}, [[2]], None, {"correct": np.array([1.0, 1.0])}, {})
    found = over_draws([one, other], n=2, seed=0)
    assert found.values == {"a": 0.5, "accuracy_worst_draw": 0.5}
    assert found.intervals["a"] == [0.5, 0.5]
    assert found.confusion == [[3]]
    np.testing.assert_array_equal(found.per_image["correct"], [1, 0.5])
