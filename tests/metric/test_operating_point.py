"""Thresholds on one set against scikit-learn's ROC curve, and their use on another."""

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score, roc_curve

from medrobust.metric.clinical import measure_clinical
from medrobust.metric.operating_point import choose_thresholds, operating_rule
from medrobust.number import NumberError
from medrobust.prediction import Answers, log_odds

N, K = 200, 3


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, K, (N,), generator=generator)
    logits = torch.randn(N, K, generator=generator)
    logits[torch.arange(N), labels] += 1
    return labels, logits


@pytest.mark.parametrize("digits", [1, 9])
def test_thresholds_against_the_curve_of_scikit_learn(digits):
    labels, logits = drawn(0)
    scores, true = log_odds(logits).numpy().round(digits), labels.numpy()
    everyone = np.ones(N, dtype=bool)
    youden = choose_thresholds(scores, true, everyone, "youden")
    at_90 = choose_thresholds(scores, true, everyone, 0.9)
    for own in range(K):
        fpr, tpr, limits = roc_curve(true == own, scores[:, own], drop_intermediate=False)
        assert youden[own] == limits[(tpr - fpr).argmax()]
        assert at_90[own] == limits[1 - fpr >= 0.9].min()


def test_the_threshold_is_used_on_other_images():
    known, test = drawn(1), drawn(2)
    rule = operating_rule("9/10")
    limits = choose_thresholds(
        log_odds(known[1]).numpy(), known[0].numpy(), np.ones(N, dtype=bool), rule
    )
    labels, odds = test[0], log_odds(test[1])
    silent = torch.arange(N) % 10 == 0
    found = Answers(test[1].argmax(1), odds, None, None, silent, 0.0)
    values, intervals, _ = measure_clinical(labels, found, classes=K, seed=0, thresholds=limits)
    for own, limit in enumerate(limits):
        called = (odds[:, own] >= limit) & ~silent
        spared = (odds[:, own] < limit) & ~silent
        assert values[f"operating_threshold_class_{own}"] == limit
        for name, among, right in (
            ("sensitivity", labels == own, called),
            ("specificity", labels != own, spared),
        ):
            name = f"{name}_at_operating_point_class_{own}"
            assert values[name] == pytest.approx(recall_score(among, right))
            assert intervals[name][0] < values[name] < intervals[name][1]
    each = [values[f"specificity_at_operating_point_class_{own}"] for own in range(K)]
    assert values["specificity_at_operating_point"] == pytest.approx(np.mean(each))


def test_thresholds_that_do_not_exist():
    scores = np.array([[0.0, 1, 2], [1, 0, 2], [2, 1, 0]])
    true, silent = np.array([0, 0, 1]), np.zeros(3, dtype=bool)
    none = choose_thresholds(scores, true, silent, 0.9)
    assert none[:2] == [np.inf, np.inf]  # nobody answers, so nobody is spared
    assert np.isnan(none[2])  # the class is absent
    found = Answers(torch.tensor(true), torch.tensor(scores), None, None, None, 0.0)
    values, *_ = measure_clinical(
        torch.tensor([0, 1, 2]), found, classes=3, seed=0, thresholds=none
    )
    assert values["sensitivity_at_operating_point_class_0"] == 0
    assert values["specificity_at_operating_point"] == 1
    assert "sensitivity_at_operating_point_class_2" not in values
    assert not any(name.startswith("operating_threshold") for name in values)


@pytest.mark.parametrize("value", ["best", 0, 1.5, True])
def test_a_rule_is_youden_or_a_specificity(value):
    with pytest.raises(NumberError, match=r"operating_point=.*in \(0, 1\], or youden"):
        operating_rule(value)
    assert operating_rule("9/10") == operating_rule(0.9) == 0.9
