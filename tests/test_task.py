import pytest
import torch

from medrobust.task import task_of


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
