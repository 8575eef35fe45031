"""Certified accuracy by hand, and in a cell's metrics."""

import pytest
import torch

from medrobust.metric.certified import RADII, certified_shares
from medrobust.metric.classification import measure_classification
from medrobust.prediction import Answers, log_odds


def test_shares_by_hand():
    right = torch.tensor([True, True, True, False, True])
    radius = torch.tensor([0.0, 0.05, 0.25, 2.0, 0.8])
    found = {name: hits.tolist() for name, hits in certified_shares(right, radius).items()}
    assert list(found) == [f"certified_accuracy@{least:g}" for least in RADII]
    assert found["certified_accuracy@0"] == [False, True, True, False, True]
    assert found["certified_accuracy@0.25"] == [False, False, True, False, True]
    assert found["certified_accuracy@0.75"] == [False, False, False, False, True]
    assert not any(found["certified_accuracy@1"])


def test_a_cell_counts_what_is_certified_around_clean_images():
    labels = torch.tensor([0, 1, 0, 1])

    def answers(said: list[int], radius: list[float], abstain: list[bool]) -> Answers:
        label = torch.tensor(said)
        return Answers(
            label,
            log_odds(torch.eye(2)[label]),
            None,
            None,
            torch.tensor(abstain),
            1.0,
            details={"certified_radius": torch.tensor(radius)},
        )

    clean = answers([0, 1, 1, 1], [0.3, 0.6, 0.6, 0.0], [False, False, False, True])
    attacked = answers([1, 1, 1, 1], [0.9, 0.7, 0.9, 0.9], [False] * 4)
    found = measure_classification(labels, clean, attacked, classes=2, seed=0)
    assert found.values["certified_accuracy@0"] == 0.5
    assert found.values["certified_accuracy@0.5"] == 0.25
    assert found.values["certified_radius"] == pytest.approx(0.85)
    assert set(found.intervals) >= {"certified_accuracy@0", "certified_radius"}
