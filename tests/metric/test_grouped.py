"""Intervals over groups: closed forms, and coverage on correlated images."""

import numpy as np
import pytest
import torch
from scipy.stats import t

from medrobust.metric.boxes import measure_boxes
from medrobust.metric.classification import measure_classification
from medrobust.metric.detector import measure_detection
from medrobust.metric.grouped import grouped_wilson
from medrobust.metric.interval import counted_bootstrap, wilson
from medrobust.metric.measured import over_draws, over_groups
from medrobust.metric.paired import paired
from medrobust.metric.perturbation import measure_perturbation
from medrobust.metric.segmentation import measure_segmentation
from medrobust.metric.worst import worst_case
from medrobust.prediction import Answers, log_odds

SIZE = 8


def drawn(generator: np.random.Generator, k: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Answers of k patients with 1 to `SIZE` images, whose own accuracies vary widely."""
    own = generator.beta(share, 1 - share, k)
    groups = np.repeat(np.arange(k), generator.integers(1, SIZE + 1, k))
    return (generator.random(len(groups)) < own[groups]).astype(float), groups


def test_equal_groups_have_the_closed_form() -> None:
    """Groups that agree within are as many trials as there are groups; less by Student's t."""
    hits, groups = np.repeat([1.0, 0, 0, 1, 1, 0, 0, 0, 0, 0], 6), np.repeat(np.arange(10), 6)
    scale = (t.ppf(0.975, 59) / t.ppf(0.975, 9)) ** 2
    n = 60 * scale * (0.3 * 0.7 / 59) / (10 / 9 * 0.3 * 0.7 / 10)
    z = 1.959963984540054
    centre, half = 0.3 + z**2 / (2 * n), z * np.sqrt(0.21 / n + z**2 / (4 * n**2))
    wanted = [(centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)]
    assert grouped_wilson(hits, np.ones(60), groups) == pytest.approx(wanted)
    # Where all agree, ten groups of six are ten trials.
    assert grouped_wilson(np.zeros(60), np.ones(60), groups) == pytest.approx(wilson(0, 10))
    assert grouped_wilson(np.ones(60), np.ones(60), groups) == pytest.approx(wilson(10, 10))
    # A single group is one trial.
    low, high = grouped_wilson(hits, np.ones(60), np.zeros(60, dtype=int))
    assert high - low > 0.75


def test_intervals_hold_the_truth_where_those_over_images_do_not() -> None:
    generator, share = np.random.default_rng(0), 0.8
    held = dict.fromkeys(("groups", "bootstrap", "images"), 0)
    for seed in range(300):
        hits, groups = drawn(generator, 60, share)
        n = len(hits)
        spans = {
            "groups": grouped_wilson(hits, np.ones(n), groups),
            "bootstrap": counted_bootstrap(
                lambda w, h=hits: w @ h / w.sum(1), n, seed=seed, groups=groups
            ),
            "images": wilson(int(hits.sum()), n),
        }
        for name, (low, high) in spans.items():
            held[name] += low <= share <= high
    assert 0.92 <= held["groups"] / 300 <= 0.99
    assert 0.89 <= held["bootstrap"] / 300 <= 0.98
    assert held["images"] / 300 < 0.8


def test_images_that_happen_to_differ_are_never_more_than_independent() -> None:
    hits, groups = np.tile([1.0, 0], 50), np.repeat(np.arange(50), 2)
    assert grouped_wilson(hits, np.ones(100), groups) == pytest.approx(wilson(50, 100))


def test_whole_groups_are_drawn() -> None:
    groups = np.array([0, 1, 1, 2, 2, 2])
    seen: list[np.ndarray] = []
    counted_bootstrap(lambda w: seen.append(w) or w[:, 0], 6, seed=5, groups=groups)
    (counts,) = seen
    assert (counts[:, 1] == counts[:, 2]).all()
    assert (counts[:, 3:] == counts[:, 3:4]).all()
    assert (counts[:, [0, 1, 3]].sum(1) == 3).all()
    index = np.random.default_rng(5).integers(0, 3, (200, 3))
    assert counts[:, [0, 1, 3]].tolist() == [np.bincount(i, minlength=3).tolist() for i in index]


def _classified():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (40,), generator=generator)
    silent = torch.arange(40) % 5 == 0
    clean, attacked = (
        Answers(logits.argmax(1), log_odds(logits), torch.rand(40), None, silent, 0.0)
        for logits in torch.randn(2, 40, 3, generator=generator)
    )
    found = measure_classification(
        labels, clean, attacked, classes=3, seed=0, graded=True, thresholds=[0.0, 0.1, 0.2]
    )
    found.add(*measure_detection(labels, clean, attacked, changed=True, seed=0))
    return found


def _masked():
    masks = torch.randint(0, 2, (3, 40, 4, 4), generator=torch.Generator().manual_seed(0))
    clean, attacked = (Answers(one, None, None, None, None, 0.0) for one in masks[:2])
    return measure_segmentation(masks[2], clean, attacked, classes=2, seed=0)


def _boxed():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(40, 2, 2, generator=generator) * 4
    boxes = torch.cat([corner, corner + 3], dim=2)
    label = torch.randint(0, 2, (40, 2), generator=generator)
    found = Answers(
        *(label, None, None, None, None, 0.0),
        boxes=boxes,
        box_logit=torch.randn(40, 2, generator=generator) + 2,
    )
    moved = boxes + 2 * torch.rand(40, 2, 1, generator=generator)
    truth = torch.cat([label[..., None].double(), moved], dim=2)
    return measure_boxes(truth, found, found, classes=2, seed=0)


@pytest.mark.parametrize("make", [_classified, _masked, _boxed])
def test_every_interval_of_a_task_is_over_groups(make) -> None:
    """Nothing changes if each image is a group; in groups of ten most intervals do."""
    found = make()
    assert len(found.intervals) > 5
    alone = over_groups(found, np.arange(40), seed=0)
    assert alone.values == found.values
    few = over_groups(found, np.arange(40) // 10, seed=0)
    assert list(few.intervals) == list(found.intervals)
    others = 0
    for name, (low, high) in found.intervals.items():
        assert alone.intervals[name] == pytest.approx([low, high], abs=1e-9), name
        others += few.intervals[name] != [low, high]
    assert others >= 0.75 * len(found.intervals)


def test_several_draws_and_perturbations_are_over_groups() -> None:
    found, groups = _classified(), np.arange(40) // 4
    mean = over_draws([found, found], n=40, seed=0, groups=groups)
    single = over_groups(found, groups, seed=0)
    bootstrapped = [name for name in mean.intervals if name.startswith(("mcc", "auroc", "brier"))]
    for name in bootstrapped:
        assert mean.intervals[name] == pytest.approx(single.intervals[name])
    assert mean.intervals["accuracy_worst_draw"] == single.intervals["accuracy"]
    x = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    course = torch.stack([torch.arange(40) % 3, torch.full((40,), 3)], dim=1)
    spans = [
        measure_perturbation(x, x * 0.9, 0.1, course, seed=0, groups=one)[1]
        for one in (None, np.arange(40), groups)
    ]
    for name, span in spans[0].items():
        assert spans[1][name] == pytest.approx(span)
        assert spans[2][name] != span


def test_the_worst_case_is_over_groups() -> None:
    hits, groups = drawn(np.random.default_rng(1), 20, 0.7)
    scores = {"a": hits[None], "b": np.roll(hits, 1)[None]}
    found = worst_case(scores, seed=0, groups=groups)
    worst = np.minimum(hits, np.roll(hits, 1))
    assert found.interval == grouped_wilson(worst, np.ones(len(hits)), groups)
    alone = worst_case(scores, seed=0)
    assert (found.value, found.by) == (alone.value, alone.by)
    assert found.interval != alone.interval
    degrees = worst_case({"a": hits[None] / 2}, seed=0, groups=groups)
    mean = counted_bootstrap(lambda w: w @ hits / 2 / w.sum(1), len(hits), seed=0, groups=groups)
    assert degrees.interval == pytest.approx(mean)


def test_signs_of_whole_groups_change() -> None:
    """Exact over all signs of ten groups; and copies of images are no further evidence."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 3)
    one, other = generator.integers(0, 2, (2, 30)).astype(float)
    found = paired(one, other, seed=0, groups=groups)
    apart = np.bincount(groups, one - other)
    signs = np.array(np.meshgrid(*[[1, -1]] * 10)).reshape(10, -1)
    exact = (np.abs(apart @ signs) >= abs(apart.sum()) - 1e-9).mean()
    assert found.test == "permutation of groups"
    assert found.p == pytest.approx(exact)
    assert found.difference == pytest.approx((one - other).mean())
    alone = paired(one, other, seed=0, groups=np.arange(30))
    copies = paired(
        *(np.repeat(part, 3) for part in (one, other)),
        seed=0,
        groups=np.repeat(np.arange(30), 3),
    )
    assert copies.p == pytest.approx(alone.p, abs=0.02)


def test_no_difference_of_patients_is_rarely_found() -> None:
    """McNemar's test over images finds one far too often where a patient's images agree."""
    generator, hits, naive = np.random.default_rng(2), 0, 0
    for seed in range(60):
        share = generator.random((2, 25))
        groups = np.repeat(np.arange(25), 6)
        one, other = (generator.random((2, 150)) < share.round()[:, groups]).astype(float)
        hits += paired(one, other, seed=seed, groups=groups).p <= 0.05
        naive += paired(one, other, seed=seed).p <= 0.05
    assert hits <= 8
    assert naive >= 15
