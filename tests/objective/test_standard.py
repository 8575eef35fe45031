from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medrobust.data.core.base import Sample
from medrobust.model.core.victim import Victim
from medrobust.objective.standard import Standard


@pytest.fixture
def victim() -> Victim:
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    return Victim(net, mean=[0.5] * 3, std=[0.5] * 3, architecture={})


def classification(labels: Tensor) -> Any:
    return SimpleNamespace(task="classification", num_classes=4, labels=lambda split: labels)


def test_loss_is_the_mean_negative_log_likelihood(victim: Victim) -> None:
    x, y = torch.rand(5, 3, 4, 4), torch.tensor([0, 1, 2, 3, 3])
    expected = -victim(x).softmax(1).gather(1, y[:, None]).log().mean()
    torch.testing.assert_close(Standard().loss(victim, x, y, seeds=torch.arange(5)), expected)


def test_balanced_loss_is_the_weighted_mean(victim: Victim) -> None:
    x, y = torch.rand(5, 3, 4, 4), torch.tensor([0, 1, 2, 3, 3])
    objective = Standard(class_balanced=True)
    objective.prepare(classification(torch.tensor([0, 1, 1, 2, 3, 3, 3, 3])))
    likelihood = -victim(x).softmax(1).gather(1, y[:, None]).log()[:, 0]
    weight = torch.tensor([2.0, 1.0, 2.0, 0.5])[y]
    expected = (weight * likelihood).sum() / weight.sum()
    torch.testing.assert_close(objective.loss(victim, x, y, seeds=torch.arange(5)), expected)


def test_unbalanced_objective_ignores_the_counts(victim: Victim) -> None:
    objective = Standard()
    objective.prepare(classification(torch.tensor([0, 0, 0, 1])))
    assert objective.weight is None


def test_masks_are_counted_by_pixel() -> None:
    masks = [torch.tensor([[0, 0], [0, 1]]), torch.tensor([[0, 0], [0, 0]])]
    samples = [Sample(torch.zeros(3, 2, 2), mask, "id") for mask in masks]
    data: Any = SimpleNamespace(
        task="segmentation", num_classes=2, dataset=lambda split: {"train": samples}[split]
    )
    objective = Standard(class_balanced=True)
    objective.prepare(data)
    torch.testing.assert_close(objective.weight, torch.tensor([8 / 14, 8 / 2]))


def test_weights_are_no_part_of_a_checkpoint() -> None:
    objective = Standard(class_balanced=True)
    objective.prepare(classification(torch.tensor([0, 1, 2, 3])))
    assert not objective.state_dict()


def test_settings_enter_the_fingerprint() -> None:
    found = {
        Standard().fingerprint,
        Standard(class_balanced=True).fingerprint,
        Standard(label_smoothing=0.1).fingerprint,
    }
    assert len(found) == 3
    assert Standard().fingerprint == Standard("standard").fingerprint


def test_impossible_smoothing_is_refused() -> None:
    with pytest.raises(ValueError, match="label_smoothing=2"):
        Standard(label_smoothing=2)
