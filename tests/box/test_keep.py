from dataclasses import replace

import torch
from torchvision.ops import nms

from medrobust.box.keep import MOST, OVERLAP, SCORE, kept
from tests.support.boxes import detector, pictures


def test_the_rest_is_filled_up():
    with torch.no_grad():
        found = kept(detector().predict(pictures()))
    assert found.label.shape == (len(pictures()), MOST)
    real = found.label >= 0
    assert real.any()
    assert (found.score[real] >= SCORE).all()
    assert (found.score.diff(dim=1) <= 0).all()
    assert found.boxes.amin() >= 0
    assert found.boxes.amax() <= 64


def test_few_answers_are_filled_up():
    with torch.no_grad():
        seen = detector().predict(pictures())
    least = seen.logits.flatten(1).topk(9).values[:, -1].view(-1, 1, 1)
    found = kept(replace(seen, logits=seen.logits.where(seen.logits >= least, -20.0)))
    real = found.label >= 0
    assert 0 < real.sum() < real.numel()
    assert (found.score[~real] == 0).all()
    assert (found.boxes[~real] == 0).all()
    assert (real.long().diff(dim=1) <= 0).all()  # the rest comes last


def test_no_doubles_of_a_class():
    with torch.no_grad():
        found = kept(detector().predict(pictures()))
    for n in range(len(pictures())):
        for number in range(3):
            mine = found.label[n] == number
            assert len(nms(found.boxes[n, mine], found.score[n, mine], OVERLAP)) == mine.sum()


def test_an_image_has_the_same_answer_in_any_batch():
    with torch.no_grad():
        seen = detector().predict(pictures())
        whole = kept(seen)
        for rows in (torch.tensor([3]), torch.tensor([5, 0, 2])):
            part = kept(seen.rows(lambda value, rows=rows: value[rows]))
            assert torch.equal(part.label, whole.label[rows])
            assert torch.allclose(part.score, whole.score[rows], atol=1e-6)
            assert torch.allclose(part.boxes, whole.boxes[rows], atol=1e-4)


def test_sure_answers_keep_their_order():
    """Scores of logits above 17 are all 1 in float32; without an order, suppression is by place."""
    with torch.no_grad():
        seen = detector().predict(pictures())
    likely, sure = (kept(replace(seen, logits=seen.logits + more)) for more in (6.0, 30.0))
    assert (likely.score[likely.label >= 0] < 1).all()
    assert (sure.score[sure.label >= 0] == 1).all()
    assert torch.equal(likely.label, sure.label)
    assert torch.equal(likely.boxes, sure.boxes)
    assert (sure.logit[:, :1] > sure.logit).any()
