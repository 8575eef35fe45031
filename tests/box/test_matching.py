"""Matching is torchvision's, image by image; what is found is counted by hand."""

import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from medrobust.box.anchored import Anchored
from medrobust.box.matching import anchor_classes, iou, match, share_found
from medrobust.model.core.anchors import Anchors
from medrobust.prediction import Prediction
from tests.support.boxes import CLASSES, SIZE, random_boxes

Y = random_boxes(12, 5, seed=0)
ANCHORS = Anchors((8, 16, 32, 64, 128), 16.0).on((SIZE, SIZE))


def test_iou_is_torchvisions():
    a, b = random_boxes(6, 5, seed=1)[..., 1:], random_boxes(6, 4, seed=2)[..., 1:]
    for n in range(6):
        assert torch.allclose(iou(a[n], b[n]), box_iou(a[n], b[n]).nan_to_num(0))
    assert torch.equal(iou(a, b)[3], iou(a[3], b[3]))


def test_matches_are_torchvisions():
    found = match(Y, ANCHORS)
    matcher = Matcher(0.5, 0.4, allow_low_quality_matches=True)
    assert (found[0] == -1).all()  # an image without boxes
    for n in range(1, len(Y)):
        real = Y[n, Y[n, :, 0] >= 0]
        assert torch.equal(found[n], matcher(box_iou(real[:, 1:], ANCHORS)))
        closest = box_iou(real[:, 1:], ANCHORS).argmax(1)
        assert (found[n, closest] >= 0).all()  # though perhaps for another box
    assert {-2, -1, 0} <= set(found.unique().tolist())


def test_classes_of_anchors():
    rows, classes = match(Y, ANCHORS), anchor_classes(Y, ANCHORS)
    n, a = (rows >= 0).nonzero()[5].tolist()
    assert classes[n, a] == Y[n, rows[n, a], 0]
    assert torch.equal(classes < 0, rows < 0)


def test_found_are_boxes_of_the_right_class_place_and_score():
    truth = torch.tensor([[[1.0, 0, 0, 20, 20], [2.0, 30, 30, 50, 60], [-1.0, 0, 0, 0, 0]]])
    anchors = torch.tensor([[0.0, 0, 20, 20], [30, 30, 50, 44], [30, 30, 50, 60]])
    logits = torch.full((1, CLASSES, 3), -9.0)
    logits[0, 1, 0] = logits[0, 2, 1] = 2.0  # the second box is answered, but half as high
    logits[0, 0, 2] = 5.0  # in its place, but as another class
    seen = Prediction(logits, anchored=Anchored(torch.zeros(1, 3, 4), anchors, (SIZE, SIZE)))
    assert share_found(seen, truth, overlap=0.5, score=0.5).item() == 0.5
    assert share_found(seen, truth, overlap=0.4, score=0.5).item() == 1.0
    assert share_found(seen, truth, overlap=0.5, score=0.9).item() == 0.0
    nothing = truth[:, 2:]
    assert share_found(seen, nothing, overlap=0.5, score=0.5).item() == 1.0
