"""Mask scores against scikit-learn, torchmetrics and segmentation_models_pytorch."""

import pytest
import segmentation_models_pytorch as smp
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, jaccard_score
from torchmetrics.functional.classification import multiclass_accuracy
from torchmetrics.functional.segmentation import dice_score, mean_iou

from medrobust.metric.overlap import mean_accuracy, overlap

GENERATOR = torch.Generator().manual_seed(0)
FOUND = torch.randint(0, 3, (6, 9, 11), generator=GENERATOR)
WANTED = torch.randint(0, 3, (6, 9, 11), generator=GENERATOR)
FOREGROUND = {"labels": [1, 2], "average": "macro"}


def test_equal_scikit_learn_per_image():
    found = overlap(FOUND, WANTED, 3)
    for i in range(6):
        a, b = WANTED[i].flatten(), FOUND[i].flatten()
        assert found.dice[i].item() == pytest.approx(f1_score(a, b, **FOREGROUND))
        assert found.jaccard[i].item() == pytest.approx(jaccard_score(a, b, **FOREGROUND))


def test_equal_torchmetrics():
    found, how = overlap(FOUND, WANTED, 3), {"include_background": False, "input_format": "index"}
    dice = dice_score(FOUND, WANTED, 3, average="macro", **how)
    torch.testing.assert_close(found.dice.float(), dice.float())
    jaccard = mean_iou(FOUND, WANTED, 3, **how)
    torch.testing.assert_close(found.jaccard.float(), jaccard.float())
    pixels = multiclass_accuracy(
        FOUND, WANTED, num_classes=3, average="micro", multidim_average="samplewise"
    )
    torch.testing.assert_close(found.accuracy.float(), pixels)


def test_equal_segmentation_models_pytorch():
    counts = smp.metrics.get_stats(FOUND, WANTED, mode="multiclass", num_classes=3)
    found = overlap(FOUND, WANTED, 3)
    for score, theirs in (
        (found.dice, smp.metrics.f1_score),
        (found.jaccard, smp.metrics.iou_score),
    ):
        torch.testing.assert_close(score.float(), theirs(*counts)[:, 1:].mean(1))


def test_mean_accuracy_is_scikit_learns_balanced_accuracy():
    found = overlap(FOUND, WANTED, 3)
    value = mean_accuracy(found.both.sum(0), found.wanted.sum(0)).item()
    assert value == pytest.approx(balanced_accuracy_score(WANTED.flatten(), FOUND.flatten()))
    expected = multiclass_accuracy(FOUND, WANTED, num_classes=3, average="macro")
    assert value == pytest.approx(expected.item())


def test_mean_accuracy_leaves_out_a_class_that_is_not_there():
    counts = torch.tensor([3, 0, 2]), torch.tensor([4, 0, 8])
    assert mean_accuracy(*counts).item() == pytest.approx((3 / 4 + 2 / 8) / 2)


def test_empty_masks():
    empty, full = torch.zeros(1, 4, 4, dtype=torch.int64), torch.ones(1, 4, 4, dtype=torch.int64)
    for found, wanted, score in (
        (empty, empty, 1),
        (full, empty, 0),
        (empty, full, 0),
        (full, full, 1),
    ):
        counts = overlap(found, wanted, 2)
        assert (counts.dice.item(), counts.jaccard.item()) == (score, score)


def test_a_value_outside_the_classes_is_a_miss_and_no_find():
    wanted = torch.tensor([[[0, 0, 1, 1]]])
    found = torch.tensor([[[2, 0, 1, 2]]])  # two classes, so 2 is none
    counts = overlap(found, wanted, 2)
    assert counts.dice.item() == pytest.approx(2 * 1 / (1 + 2))
    assert counts.jaccard.item() == pytest.approx(1 / 2)
    assert counts.accuracy.item() == pytest.approx(2 / 4)


def test_a_class_in_neither_mask_is_left_out():
    found, wanted = torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 0, 0, 1]]])
    assert overlap(found, wanted, 2).dice == overlap(found, wanted, 5).dice < 1
    assert overlap(found, wanted, 2).jaccard == overlap(found, wanted, 5).jaccard == 0.5
