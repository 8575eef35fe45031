"""A detector's metrics against scikit-learn and hand-made answers."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from medrobust.metric.detector import Ranked, measure_detection
from medrobust.metric.interval import wilson
from medrobust.prediction import Answers


def answers(label: torch.Tensor, score: torch.Tensor, threshold: float) -> Answers:
    given = torch.full_like(score, threshold)
    return Answers(label, None, score, None, score > given, 0.0, threshold=given)


def by_hand(clean: np.ndarray, attacked: np.ndarray) -> tuple[float, float]:
    truth = np.r_[np.zeros(len(clean)), np.ones(len(attacked))]
    score = np.r_[clean, attacked]
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    return float(roc_auc_score(truth, score)), float(true[false <= 0.1 + 1e-12].max())


@pytest.mark.parametrize("levels", [None, 40, 5, 2])  # few levels: many ties, at the threshold too
@pytest.mark.parametrize("n", [3, 10, 97, 400])
def test_against_scikit_learn(n, levels):
    generator = torch.Generator().manual_seed(n)
    clean, attacked = torch.randn(2, n, generator=generator)
    attacked = attacked + 1
    if levels:
        clean, attacked = ((part * levels / 6).round() for part in (clean, attacked))
    labels = torch.randint(2, (n,), generator=generator)
    before = torch.where(torch.rand(n, generator=generator) < 0.9, labels, 1 - labels)
    before[0] = labels[0]
    after = torch.where(torch.rand(n, generator=generator) < 0.8, 1 - labels, labels)
    after[0] = 1 - labels[0]
    values, intervals, _ = measure_detection(
        labels,
        answers(before, clean, 1.0),
        answers(after, attacked, 1.0),
        changed=True,
        seed=0,
    )
    right = (before == labels).numpy()
    won = right & (after != labels).numpy()
    area, rate = by_hand(clean.numpy(), attacked.numpy())
    assert values["auroc_detection"] == pytest.approx(area)
    assert values["tpr_at_90_tnr"] == pytest.approx(rate)
    area, rate = by_hand(clean.numpy()[right], attacked.numpy()[won])
    assert values["auroc_detection_successful"] == pytest.approx(area)
    assert values["tpr_at_90_tnr_successful"] == pytest.approx(rate)
    passes = attacked.numpy() <= 1
    assert values["undetected_success_rate"] == pytest.approx((won & passes).sum() / right.sum())
    assert values["fooled_rate"] == pytest.approx(won.sum() / right.sum())
    assert values["detection_rate"] == pytest.approx((~passes).mean())
    assert values["detection_rate_successful"] == pytest.approx((~passes)[won].mean())
    assert values["clean_acceptance_rate"] == pytest.approx((clean.numpy() <= 1).mean())
    accepted = (after == labels).numpy()[passes]
    if passes.any():
        assert values["accuracy_accepted"] == pytest.approx(accepted.mean())
    assert set(intervals) == set(values)
    hits = int((won & passes).sum())
    assert intervals["undetected_success_rate"] == pytest.approx(wilson(hits, int(right.sum())))
    if n == 400 and levels is None:
        for name, (low, high) in intervals.items():
            assert 0 <= low <= values[name] <= high <= 1, name


def test_the_bootstrap_resamples_images_with_their_attacked_selves():
    rng = np.random.default_rng(0)
    clean, attacked = rng.normal(size=60), rng.normal(1, 1, size=60)
    counts = rng.multinomial(60, np.full(60, 1 / 60), size=5).astype(float)
    ranked = Ranked(clean, attacked)
    areas, rates = ranked.auroc(counts, counts), ranked.tpr(counts, counts)
    for many, area, rate in zip(counts.astype(int), areas, rates, strict=True):
        slow = by_hand(clean.repeat(many), attacked.repeat(many))
        assert (area, rate) == pytest.approx(slow)


def test_all_scores_equal():
    labels, flat = torch.tensor([0, 1, 0, 1]), torch.zeros(4)
    values, intervals, _ = measure_detection(
        labels, answers(labels, flat, 0.0), answers(1 - labels, flat, 0.0), changed=True, seed=0
    )
    assert values["auroc_detection"] == 0.5
    assert values["tpr_at_90_tnr"] == 0.0  # no threshold parts them
    assert values["clean_acceptance_rate"] == values["undetected_success_rate"] == 1.0
    assert values["accuracy_accepted"] == 0.0
    assert intervals["auroc_detection"] == [0.5, 0.5]


def test_infinite_scores_rank_and_nan_is_refused():
    area = Ranked(np.array([-np.inf, 0, 1]), np.array([np.inf, np.inf, 0]))
    one = np.ones((1, 3))
    assert area.auroc(one, one)[0] == pytest.approx((3 + 3 + 1.5) / 9)
    with pytest.raises(ValueError, match="1 of 4 detection scores are NaN"):
        Ranked(np.array([0, np.nan]), np.array([0.0, 1.0]))


def test_nothing_to_measure_is_left_out():
    labels, score = torch.tensor([0, 1, 0]), torch.tensor([0.0, 1.0, 2.0])
    good, bad = answers(labels, score, 1.0), answers(1 - labels, score, 1.0)
    clean, *_ = measure_detection(labels, good, good, changed=False, seed=0)
    assert set(clean) == {"clean_acceptance_rate", "accuracy_accepted"}
    unfooled, *_ = measure_detection(labels, good, good, changed=True, seed=0)
    assert unfooled["undetected_success_rate"] == unfooled["fooled_rate"] == 0
    assert not [name for name in unfooled if name.endswith("successful")]
    wrong, *_ = measure_detection(labels, bad, bad, changed=True, seed=0)
    assert "undetected_success_rate" not in wrong
    assert wrong["auroc_detection"] == 0.5
    refused = answers(labels, score, -1.0)
    assert (
        "accuracy_accepted" not in measure_detection(labels, good, refused, changed=True, seed=0)[0]
    )


@pytest.mark.parametrize("n", [1, 2])
def test_few_images(n):
    labels, score = torch.zeros(n, dtype=torch.int64), torch.arange(float(n))
    values, intervals, _ = measure_detection(
        labels, answers(labels, score, 9), answers(labels + 1, score + 5, 9), changed=True, seed=0
    )
    assert values["auroc_detection"] == values["tpr_at_90_tnr"] == 1.0
    assert all(np.isfinite(span).all() for span in intervals.values())
