"""RM's threshold by brute force and from the paper; the four shares of Table IX."""

from itertools import product

import numpy as np
import pytest
import torch

from medrobust.metric.classification import measure_classification
from medrobust.metric.robust_metric import default_threshold, least_share, robust_shares
from medrobust.number import NumberError
from medrobust.prediction import Answers, log_odds


def test_least_share_is_the_least_over_all_votes():
    """Eq. 10 against every vote of 12 copies on 3 classes: a bound, and reached."""
    slack = []
    for votes in product(range(13), repeat=3):
        if sum(votes) == 12:
            _, second, first = sorted(votes)
            slack.append(first / 12 - least_share(3 * (first - second) / 12, 3))
    assert min(slack) == pytest.approx(0, abs=1e-12)


def test_the_papers_thresholds():
    assert (default_threshold(3), default_threshold(7)) == (1, 3)
    assert least_share(1, 3) == pytest.approx(5 / 9)
    assert least_share(3, 7) == pytest.approx(25 / 49)
    assert least_share(2, 7) < 0.5


@pytest.mark.parametrize("classes", range(2, 40))
def test_threshold_is_the_smallest_whole_rm_with_a_majority(classes):
    expected = next(rm for rm in range(classes + 1) if least_share(rm, classes) > 0.5 + 1e-12)
    assert default_threshold(classes) == expected


def test_one_class_has_no_threshold():
    with pytest.raises(NumberError, match="classes=1"):
        default_threshold(1)


def test_each_image_is_of_one_kind():
    right = torch.tensor([True, True, False, False, True])
    robust = torch.tensor([True, False, False, True, True])
    shares = robust_shares(right, robust)
    assert torch.stack(list(shares.values())).sum(0).tolist() == [1] * 5
    assert {name: int(kind.sum()) for name, kind in shares.items()} == {
        "rm_correct_robust": 2,
        "rm_correct_not_robust": 1,
        "rm_incorrect_not_robust": 1,
        "rm_incorrect_robust": 1,
    }


def test_a_row_carries_the_shares_with_intervals():
    n, classes = 200, 3
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator)
    abstain = torch.rand(n, generator=generator) < 0.2
    robust = (torch.rand(n, generator=generator) < 0.6) & ~abstain
    copies = torch.arange(n, dtype=torch.float32)
    found = Answers(
        logits.argmax(1),
        log_odds(logits),
        None,
        logits.amax(1),
        abstain,
        0.0,
        details={"rm_robust": robust, "copies": copies},
    )
    values, intervals, *_ = measure_classification(labels, found, found, classes=classes, seed=0)
    names = [name for name in values if name.startswith(("rm_correct", "rm_incorrect"))]
    assert len(names) == 4
    assert sum(values[name] for name in names) == pytest.approx(1)
    given = values["rm_correct_robust"] + values["rm_correct_not_robust"]
    assert given == pytest.approx(values["accuracy"])
    assert values["rm_correct_robust"] + values["rm_incorrect_robust"] == pytest.approx(
        robust.double().mean().item()
    )
    for name in [*names, "rm_robust", "robust_metric", "copies"]:
        low, high = intervals[name]
        assert low <= values[name] <= high
    assert values["copies"] == pytest.approx(99.5)
    assert values["copies_median"] == pytest.approx(np.median(copies))
