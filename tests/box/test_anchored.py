import torch

from medrobust.box.anchored import Anchored
from tests.support.boxes import detector, pictures


def test_boxes_by_hand():
    anchors = torch.tensor([[10.0, 20, 30, 60]])
    offsets = torch.tensor([[[0.5, -0.25, 0.0, torch.tensor(0.5).log()]]])
    boxes = Anchored(offsets, anchors, (100, 100)).boxes
    assert torch.allclose(boxes, torch.tensor([[[20.0, 20, 40, 40]]]))
    cut = Anchored(offsets, anchors, (30, 35)).boxes
    assert torch.allclose(cut, torch.tensor([[[20.0, 20, 35, 30]]]))


def test_rows_of_a_prediction():
    with torch.no_grad():
        seen = detector().predict(pictures())
    part = seen.rows(lambda value: value[2:4])
    assert torch.equal(part.logits, seen.logits[2:4])
    assert torch.equal(part.anchored.offsets, seen.anchored.offsets[2:4])
    assert part.anchored.anchors is seen.anchored.anchors
    assert part.score is None
    assert torch.equal(seen.probability, seen.logits.sigmoid())
