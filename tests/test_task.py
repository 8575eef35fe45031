import pytest
import torch

from medrobust.task import LabelError, check_labels, task_of


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (torch.zeros(4, dtype=torch.int64), "classification"),
        (torch.zeros(4, 6, 5, dtype=torch.int64), "segmentation"),  # as wide as a box
        (torch.zeros(4, 6, 5), "detection"),
        (torch.zeros(4, 1, 5, dtype=torch.float64), "detection"),
    ],
)
def test_labels_tell_the_task(labels, task):
    assert task_of(labels) == task


@pytest.mark.parametrize(
    "labels", [torch.zeros(4), torch.zeros(4, 5), torch.zeros(4, 6, 4), torch.zeros(4).int()]
)
def test_other_labels_are_refused(labels):
    with pytest.raises(ValueError, match=r"expected classes int64 \(N,\)"):
        task_of(labels)


BOXES = torch.tensor([[[0.0, 1, 1, 4, 4], [-1, 0, 0, 0, 0]], [[2, 1, 1, 4, 4], [1, 0, 0, 1, 1]]])


@pytest.mark.parametrize(
    ("labels", "classes", "wrong"),
    [
        (torch.tensor([0, 2, 1]), 3, None),
        (torch.tensor([0, 3, -1]), 3, r"labels \[-1, 3\] of images \[1, 2\] .* 3 classes"),
        (torch.zeros(0, dtype=torch.int64), 3, None),
        (torch.tensor([[[0, 1]], [[0, 255]]]), 2, r"labels \[255\] of images \[1\]"),
        (BOXES, 3, None),
        (BOXES[:, 1:][:1], 3, None),  # no box
        (BOXES, 2, r"labels \[2\.0\] of images \[1\]"),
        (BOXES - torch.tensor([0.5, 0, 0, 0, 0]), 3, r"of images \[0, 1\]"),
        (BOXES.where(BOXES != -1, -2.0), 3, r"labels \[-2\.0\] of images \[0\]"),
        (BOXES.where(BOXES != -1, torch.nan), 3, r"labels \[nan\] of images \[0\]"),
    ],
)
def test_labels_are_classes(labels, classes, wrong):
    if wrong is None:
        check_labels(labels, classes)
        return
    with pytest.raises(LabelError, match=wrong):
        check_labels(labels, classes)
