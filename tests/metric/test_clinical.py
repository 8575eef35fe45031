"""Clinical metrics against torchmetrics and scikit-learn, and under weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from medrobust.metric.classification import measure_classification
from medrobust.metric.clinical import BINS, measure_clinical
from medrobust.prediction import Answers, log_odds

N = 150


def drawn(seed: int, classes: int, *, ties: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels without the last class for every third seed, and logits, rounded for ties."""
    generator = torch.Generator().manual_seed(seed)
    present = classes - 1 if seed % 3 == 0 and classes > 2 else classes
    labels = torch.randint(0, present, (N,), generator=generator)
    logits = 2 * torch.randn(N, classes, generator=generator)
    logits[torch.arange(N), labels] += 1
    return labels, logits.round() if ties else logits


def answers(logits: torch.Tensor, abstain: torch.Tensor | None = None) -> Answers:
    return Answers(logits.argmax(1), log_odds(logits), None, None, abstain, 0.0)


def of(labels, found, classes, **more):
    return measure_clinical(labels, found, classes=classes, seed=0, **more)


def test_calibration_has_no_interval_since_resamples_exceed_it():
    """All of 200 resamples of a calibrated system may have a larger error than the images."""
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(400, 2, generator=generator)
    labels = (torch.rand(400, generator=generator) < logits.softmax(1)[:, 1]).long()
    values, intervals, statistics = of(labels, answers(logits), 2)
    again = [
        of(labels[i], answers(logits[i]), 2)[0]["ece"]
        for i in torch.randint(0, 400, (20, 400), generator=generator)
    ]
    assert np.mean(again) > 1.2 * values["ece"]
    assert "ece" not in intervals
    assert "ece" not in statistics


@given(st.integers(0, 2**20), st.integers(2, 5), st.booleans())
@settings(max_examples=12, deadline=None)
def test_values_equal_those_of_torchmetrics_and_scikit_learn(seed, classes, ties):
    labels, logits = drawn(seed, classes, ties=ties)
    values, intervals, _ = of(labels, answers(logits), classes, graded=True)
    said, chance = logits.argmax(1), logits.double().softmax(1)
    kind = {"num_classes": classes}
    each = tm.multiclass_f1_score(said, labels, average="none", **kind)
    macro = tm.multiclass_f1_score(said, labels, average="macro", **kind)
    assert values["f1_macro"] == pytest.approx(macro.item(), abs=1e-6)
    kappa = tm.multiclass_cohen_kappa(said, labels, weights="quadratic", **kind)
    assert values["kappa_quadratic"] == pytest.approx(kappa.item(), abs=1e-5)
    mcc = tm.multiclass_matthews_corrcoef(said, labels, **kind)
    assert values["mcc"] == pytest.approx(mcc.item(), abs=1e-5)
    ece = tm.multiclass_calibration_error(chance, labels, n_bins=BINS, **kind)
    assert values["ece"] == pytest.approx(ece.item(), abs=1e-6)
    # scikit-learn's are in float64.
    assert values["f1_macro"] == pytest.approx(
        sk.f1_score(labels, said, average="macro", labels=range(classes), zero_division=np.nan)
    )
    wanted = sk.cohen_kappa_score(labels, said, weights="quadratic")
    assert values["kappa_quadratic"] == pytest.approx(wanted)
    assert values["mcc"] == pytest.approx(sk.matthews_corrcoef(labels, said))
    brier = sk.brier_score_loss(labels, chance, labels=range(classes), scale_by_half=False)
    assert values["brier"] == pytest.approx(brier)
    for own in range(classes):
        member, called = labels == own, said == own
        assert values[f"f1_class_{own}"] == pytest.approx(each[own].item(), abs=1e-6)
        rates = {"sensitivity": (member, called), "specificity": (~member, ~called)}
        for name, (among, right) in rates.items():
            if among.any():
                wanted = sk.recall_score(among, right)
                assert values[f"{name}_class_{own}"] == pytest.approx(wanted)
            else:
                assert f"{name}_class_{own}" not in values
        if member.any():
            odds = log_odds(logits)[:, own]
            assert values[f"auroc_class_{own}"] == pytest.approx(sk.roc_auc_score(member, odds))
            rank = torch.from_numpy(rankdata(odds) / N).float()  # ties of the odds are ties here
            for level in (0.9, 0.95):
                found, _ = tm.binary_sensitivity_at_specificity(rank, member, level)
                name = f"sensitivity_at_{round(100 * level)}_specificity_class_{own}"
                assert values[name] == pytest.approx(found.item(), abs=1e-6)
    for name, (low, high) in intervals.items():
        assert low <= values[name] <= high, name


def test_two_classes_have_a_positive_one():
    labels, logits = drawn(1, 2)
    values, intervals, _ = of(labels, answers(logits), 2)
    for name in ("sensitivity", "specificity", "sensitivity_at_95_specificity"):
        assert values[name] == values[f"{name}_class_1"]
        assert intervals[name] == intervals[f"{name}_class_1"]
    assert values["sensitivity_class_0"] == values["specificity_class_1"]
    chance = logits.double().softmax(1)[:, 1]
    assert values["brier"] == pytest.approx(2 * sk.brier_score_loss(labels, chance))
    assert "kappa_quadratic" not in values  # the classes are not grades


@given(st.integers(0, 2**20), st.integers(2, 4))
@settings(max_examples=8, deadline=None)
def test_weights_count_images_as_often(seed, classes):
    """Every statistic under whole weights is the value of the repeated images."""
    labels, logits = drawn(seed, classes, ties=seed % 2 == 0)
    abstain = torch.arange(N) % 4 == 0
    limits = [0.1 * own for own in range(classes)]
    known = {"graded": True, "thresholds": limits}
    _, _, statistics = of(labels, answers(logits, abstain), classes, **known)
    counts = np.random.default_rng(seed).integers(0, 3, (2, N))
    for weights in counts:
        again = torch.from_numpy(np.repeat(np.arange(N), weights))
        values, *_ = of(labels[again], answers(logits[again], abstain[again]), classes, **known)
        for name, statistic in statistics.items():
            both = statistic(np.stack([np.ones(N), weights.astype(float)]))
            assert both[1] == pytest.approx(values.get(name, np.nan), nan_ok=True), name


def test_abstentions_are_no_positives_and_no_correct_answers():
    labels, logits = drawn(4, 3)
    silent = torch.rand(N, generator=torch.Generator().manual_seed(0)) < 0.3
    values, *_ = of(labels, answers(logits, silent), 3, graded=True)
    said = logits.argmax(1).masked_fill(silent, 3)
    each = sk.f1_score(labels, said, labels=range(3), average=None)
    assert values["f1_macro"] == pytest.approx(each.mean())
    assert values["mcc"] == pytest.approx(sk.matthews_corrcoef(labels, said))
    recall = sk.recall_score(labels, said, labels=range(3), average="macro")
    assert values["sensitivity"] == pytest.approx(recall)
    others = labels != 0
    spared = ((said == 1) | (said == 2)) & others
    assert values["specificity_class_0"] == pytest.approx((spared.sum() / others.sum()).item())
    own, chance = ~silent, logits.double().softmax(1)
    brier = sk.brier_score_loss(labels[own], chance[own], labels=range(3), scale_by_half=False)
    assert values["brier"] == pytest.approx(brier)
    ece = tm.multiclass_calibration_error(chance[own], labels[own], num_classes=3, n_bins=BINS)
    assert values["ece"] == pytest.approx(ece.item(), abs=1e-6)
    # 30 % of the negatives are no true negatives, so that no threshold has 90 % specificity.
    assert values["sensitivity_at_90_specificity"] == 0
    # An abstention is as far from a grade as grades can be: as in a table of weights of our own.
    weight = np.array([[0, 1, 4, 4], [1, 0, 1, 4], [4, 1, 0, 4]])
    seen = np.zeros((3, 4))
    np.add.at(seen, (labels.numpy(), said.numpy()), 1)
    chance_of = np.outer(seen.sum(1), seen.sum(0)) / N
    wanted = 1 - (weight * seen).sum() / (weight * chance_of).sum()
    assert values["kappa_quadratic"] == pytest.approx(wanted)


def test_what_is_undefined_is_left_out():
    labels, logits = torch.zeros(6, dtype=torch.int64), torch.eye(3)[[0, 0, 1, 0, 0, 0]]
    values, *_ = of(labels, answers(logits), 3, graded=True)
    assert {"mcc", "f1_class_2", "sensitivity_class_1", "specificity_class_0"}.isdisjoint(values)
    assert not any(name.startswith(("auroc", "sensitivity_at")) for name in values)
    assert values["f1_class_1"] == 0  # answered, and never true
    values, *_ = of(labels, answers(torch.eye(3)[[0] * 6]), 3, graded=True)
    assert "kappa_quadratic" not in values  # no disagreement is possible
    everyone = torch.ones(6, dtype=torch.bool)
    values, *_ = of(torch.arange(6) % 3, answers(logits, everyone), 3, graded=True)
    assert {"ece", "brier"}.isdisjoint(values)
    assert values["sensitivity"] == values["specificity"] == values["f1_macro"] == 0
    assert values["kappa_quadratic"] == 0  # no better than chance
    same, *_ = of(torch.arange(6) % 3, answers(torch.eye(3)[[1] * 6]), 3)
    assert same["mcc"] == 0


@pytest.mark.parametrize("sure", [20.0, 800.0])
def test_sure_answers_are_calibrated_in_float64(sure):
    """A float32 probability of 1 gets a bin of its own in torchmetrics; ours is in the last one."""
    labels = torch.tensor([0, 0, 0, 1])
    logits = torch.zeros(4, 2)
    logits[:, 0] = torch.tensor([sure, sure, sure, sure + 1])
    values, *_ = of(labels, answers(logits), 2)
    assert values["ece"] == pytest.approx(0.25, abs=1e-8)
    assert values["brier"] == pytest.approx(0.5, abs=1e-8)
    assert all(np.isfinite(value) for value in values.values())


def test_both_sides_are_measured():
    labels, logits = drawn(2, 3)
    clean = logits + 3 * torch.nn.functional.one_hot(labels, 3)
    found = measure_classification(labels, answers(clean), answers(logits), classes=3, seed=0)
    before, intervals, _ = of(labels, answers(clean), 3)
    assert {name: found.values[f"clean_{name}"] for name in before} == before
    assert {name: found.intervals[f"clean_{name}"] for name in intervals} == intervals
    assert found.values["clean_f1_macro"] > found.values["f1_macro"]
