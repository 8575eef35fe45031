"""Metrics against scikit-learn, statsmodels-free closed forms, and hand-made answers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    multilabel_confusion_matrix,
    roc_auc_score,
)

from medrobust.metric.classification import (
    balanced_accuracy,
    macro_fpr,
    measure_classification,
)
from medrobust.metric.interval import bootstrap, counted_bootstrap, proportion, wilson
from medrobust.metric.one_vs_rest import macro_auroc
from medrobust.prediction import Answers, log_odds

K, N = 4, 300


def answers(logits: torch.Tensor, abstain: torch.Tensor | None = None) -> Answers:
    confidence = None if abstain is None else logits.amax(1)
    return Answers(logits.argmax(1), log_odds(logits), None, confidence, abstain, 0.0)


@pytest.fixture
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, K, (N,), generator=generator)
    clean = torch.randn(N, K, generator=generator)
    clean[torch.arange(N), labels] += 2
    attacked = torch.randn(N, K, generator=generator)
    return labels, clean, attacked


def test_against_scikit_learn(drawn):
    labels, clean, attacked = drawn
    found = measure_classification(labels, answers(clean), answers(attacked), classes=K, seed=0)
    said = attacked.argmax(1)
    assert found.values["accuracy"] == pytest.approx((said == labels).double().mean().item())
    assert found.values["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(labels, said), abs=1e-6
    )
    assert found.values["auroc"] == pytest.approx(
        roc_auc_score(labels, attacked.softmax(1), multi_class="ovr"), abs=1e-6
    )
    assert found.confusion == confusion_matrix(labels, said).tolist()
    assert found.clean_confusion == confusion_matrix(labels, clean.argmax(1)).tolist()
    right = clean.argmax(1) == labels
    lost = (right & (said != labels)).sum() / right.sum()
    assert found.values["attack_success_rate"] == pytest.approx(lost.item())
    assert "abstention_rate" not in found.values
    before, after = right.double().mean(), (said == labels).double().mean()
    decrease = (before - after) / before
    assert found.values["accuracy_decrease_relative"] == pytest.approx(decrease.item())
    for name, (low, high) in found.intervals.items():
        assert low <= found.values[name] <= high, name


def test_false_positives_against_scikit_learn(drawn):
    labels, _, attacked = drawn
    labels = labels.clamp(max=2)  # the last class is answered, and never true
    answer = attacked.argmax(1).masked_fill(torch.arange(N) % 5 == 0, K)  # K abstains
    counts = np.random.default_rng(0).integers(0, 3, (4, N))
    found = macro_fpr(answer.numpy(), labels.numpy(), counts.astype(float), K)
    for row, weight in zip(found, counts, strict=True):
        pieces = multilabel_confusion_matrix(
            labels, answer, labels=range(K), sample_weight=weight
        ).astype(float)
        wanted = [false / (true + false) for ((true, false), _) in pieces]
        assert row == pytest.approx(np.mean(wanted))
    alone = macro_fpr(np.array([0, 1]), np.array([0, 0]), np.ones((1, 2)), 2)
    assert alone[0] == 0.5  # nobody is outside class 0, half of those outside class 1 are called it


def test_abstentions_are_errors_but_no_attack_success(drawn):
    labels, clean, attacked = drawn
    silent = torch.arange(N) % 3 == 0
    found = measure_classification(
        labels, answers(clean), answers(attacked, silent), classes=K, seed=0
    ).values
    vote = attacked.argmax(1) == labels
    right = clean.argmax(1) == labels
    assert found["accuracy"] == pytest.approx((vote & ~silent).double().mean().item())
    assert found["accuracy_vote"] == pytest.approx(vote.double().mean().item())
    assert found["accuracy_answered"] == pytest.approx(vote[~silent].double().mean().item())
    assert found["abstention_rate"] == pytest.approx(1 / 3, abs=0.01)
    lost = (~vote & ~silent)[right].double().mean().item()
    assert found["attack_success_rate"] == pytest.approx(lost)
    answer = attacked.argmax(1).masked_fill(silent, K)
    recall = [(answer == c)[labels == c].double().mean().item() for c in range(K)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recall), abs=1e-6)


def test_absent_classes_and_nothing_right_before():
    labels = torch.tensor([0, 0, 1, 1])
    wrong = torch.eye(3)[[1, 1, 0, 0]] * 5
    found = measure_classification(labels, answers(wrong), answers(wrong), classes=3, seed=0)
    assert found.values["accuracy"] == 0
    assert found.values["balanced_accuracy"] == 0
    assert "attack_success_rate" not in found.values
    assert "auroc" not in found.values


@pytest.mark.parametrize(("classes", "sure"), [(2, 24.0), (4, 60.0)])
def test_sure_answers_are_ranked_by_their_log_odds(classes, sure):
    """Float32 probabilities of margins above 17 are 1 and tie; a pair count in float64 does not."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % classes
    logits = torch.randn(200, classes, generator=generator)
    logits[:, 1] += sure + 6 * torch.rand(200, generator=generator)  # sure of class 1, right or not
    logits[torch.arange(200), labels] += 2
    assert (logits.softmax(1)[:, 1] == 1).float().mean() > 0.9
    wide, each = logits.double(), []
    for own in range(classes):
        others = [other for other in range(classes) if other != own]
        odds = wide[:, own] - wide[:, others].logsumexp(1)
        inside, outside = odds[labels == own][:, None], odds[labels != own]
        each.append(((inside > outside).double() + 0.5 * (inside == outside)).mean().item())
    found = measure_classification(
        labels, answers(logits), answers(logits), classes=classes, seed=0
    )
    assert found.values["auroc"] == pytest.approx(np.mean(each), abs=1e-12)
    low, high = found.intervals["auroc"]
    assert low <= found.values["auroc"] <= high


@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(20, 60))
@settings(max_examples=25, deadline=None)
def test_rank_auroc_equals_scikit_learn(seed, classes, n):
    generator = np.random.default_rng(seed)
    true = np.concatenate([np.arange(classes), generator.integers(0, classes, n)])
    probability = generator.dirichlet(np.ones(classes), len(true)).round(2)  # with ties
    probability /= probability.sum(1, keepdims=True)
    each = [roc_auc_score(true == c, probability[:, c]) for c in range(classes)]
    once = np.ones((1, len(true)))
    assert macro_auroc(probability, true, once) == pytest.approx(np.mean(each))


@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(5, 40))
@settings(max_examples=25, deadline=None)
def test_counted_statistics_equal_those_of_the_drawn_images(seed, classes, n):
    generator = np.random.default_rng(seed)
    true = generator.integers(0, classes, n)
    probability = generator.dirichlet(np.ones(classes), n).round(1)
    said = probability.argmax(1)
    drawn = generator.integers(0, n, (8, n))
    counts = np.stack([np.bincount(i, minlength=n) for i in drawn]).astype(float)
    auroc, balanced = macro_auroc(probability, true, counts), balanced_accuracy(said, true, counts)
    for place, i in enumerate(drawn):
        present = np.unique(true[i])
        each = [roc_auc_score(true[i] == c, probability[i, c]) for c in present if len(present) > 1]
        assert auroc[place] == pytest.approx(np.mean(each) if each else np.nan, nan_ok=True)
        shares = [(said[i] == c)[true[i] == c].mean() for c in present]
        assert balanced[place] == pytest.approx(np.mean(shares))


def test_counted_bootstrap_draws_as_the_other():
    data = np.random.default_rng(0).normal(size=101)
    plain = bootstrap(lambda i: data[i].mean(), 101, seed=3)
    assert counted_bootstrap(lambda counts: counts @ data / 101, 101, seed=3) == pytest.approx(
        plain
    )


def test_wilson_closed_form():
    z, n, p = 1.959963984540054, 50, 0.2
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert wilson(10, 50) == pytest.approx([centre - half, centre + half])
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    value, interval = proportion(torch.tensor([True, False, False, False, False] * 10))
    assert value == pytest.approx(0.2)
    assert interval == wilson(10, 50)


def test_bootstrap_covers_and_repeats():
    """About 95 % of intervals of a mean hold the truth."""
    hits = 0
    for seed in range(200):
        data = np.random.default_rng(seed).normal(size=100)
        low, high = bootstrap(lambda i, d=data: d[i].mean(), 100, seed=seed)
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99
    data = np.arange(20.0)
    assert bootstrap(lambda i: data[i].mean(), 20, seed=1) == bootstrap(
        lambda i: data[i].mean(), 20, seed=1
    )
