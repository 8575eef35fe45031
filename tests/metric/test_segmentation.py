"""Mask metrics against scikit-learn and torchmetrics."""

import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torchmetrics.functional.segmentation import dice_score

from medrobust.evaluation.predict import Answers
from medrobust.metric.segmentation import foreground_scores, measure_segmentation

GENERATOR = torch.Generator().manual_seed(0)
FOUND = torch.randint(0, 3, (6, 9, 11), generator=GENERATOR)
WANTED = torch.randint(0, 3, (6, 9, 11), generator=GENERATOR)


def answers(label: torch.Tensor) -> Answers:
    return Answers(label, None, None, None, None, 0.0)


def test_scores_equal_scikit_learn_per_image():
    dice, jaccard = foreground_scores(FOUND, WANTED, 3)
    for i in range(6):
        a, b = WANTED[i].flatten(), FOUND[i].flatten()
        assert dice[i].item() == pytest.approx(f1_score(a, b, labels=[1, 2], average="macro"))
        assert jaccard[i].item() == pytest.approx(
            jaccard_score(a, b, labels=[1, 2], average="macro")
        )


def test_dice_equals_torchmetrics():
    dice, _ = foreground_scores(FOUND, WANTED, 3)
    expected = dice_score(
        FOUND, WANTED, 3, include_background=False, average="macro", input_format="index"
    )
    torch.testing.assert_close(dice.float(), expected.float())


def test_empty_masks():
    empty, full = torch.zeros(1, 4, 4, dtype=torch.int64), torch.ones(1, 4, 4, dtype=torch.int64)
    assert [s.item() for s in foreground_scores(empty, empty, 2)] == [1, 1]
    assert [s.item() for s in foreground_scores(full, empty, 2)] == [0, 0]
    assert [s.item() for s in foreground_scores(full, full, 2)] == [1, 1]


def test_attack_success_counts_lost_images_only():
    wanted = torch.zeros(4, 4, 4, dtype=torch.int64)
    wanted[:, :2] = 1
    clean, attacked = wanted.clone(), wanted.clone()
    clean[3] = 0  # was wrong before: not the attack's doing
    attacked[2:] = 0
    values = measure_segmentation(
        wanted, answers(clean), answers(attacked), classes=2, seed=0
    ).values
    assert values["attack_success_rate"] == pytest.approx(1 / 3)
    assert values["dice"] == pytest.approx(0.5)
    assert values["jaccard"] == pytest.approx(0.5)
    assert values["clean_dice"] == pytest.approx(0.75)
    assert values["pixel_accuracy"] == pytest.approx(0.75)
