"""The loss, and the boxes, are those of torchvision's RetinaNet with the same weights."""

import pytest
import torch
from torch import nn
from torchvision.models.detection import RetinaNet as Reference
from torchvision.models.detection.anchor_utils import AnchorGenerator

from medrobust.box.keep import kept
from medrobust.box.loss import retinanet_loss
from medrobust.model.core.anchors import Anchors
from medrobust.prediction import Prediction
from tests.support.boxes import CLASSES, SIZE, detector, pictures, random_boxes, whole_network

Y = random_boxes(7, 4, seed=3)


class Pyramid(nn.Module):
    """Backbone and pyramid of a victim, as torchvision wants them; normalised already."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network, self.out_channels = network, channels

    def forward(self, x):
        return self.network.pyramid(dict(enumerate(self.network.backbone(x))))


@pytest.fixture(params=["toy", "whole"])
def pair(request):
    """A victim, and torchvision's detector of its weights."""
    toy = request.param == "toy"
    victim = detector() if toy else whole_network().freeze()
    channels, smallest = (8, 12) if toy else (16, 16)
    sizes = tuple(
        tuple(int(smallest * 2**level * 2 ** (s / 3)) for s in range(3)) for level in range(5)
    )
    reference = Reference(
        Pyramid(victim.network, channels),
        CLASSES,
        min_size=SIZE,
        max_size=SIZE,
        image_mean=victim.mean.flatten().tolist(),
        image_std=victim.std.flatten().tolist(),
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5),
        head=victim.network.head,
        detections_per_img=100,
    )
    return victim, reference.eval()


def targets(y):
    return [
        {"boxes": one[one[:, 0] >= 0, 1:], "labels": one[one[:, 0] >= 0, 0].long()} for one in y
    ]


def test_loss_is_torchvisions(pair):
    victim, reference = pair
    x = pictures()
    for rows in (slice(1, 7), slice(0, 1)):  # the first image has no box
        ours = retinanet_loss(victim.predict(x[rows]), Y[rows])
        reference.train()  # gives losses; nothing in eval-mode parts changes
        for module in reference.backbone.modules():
            module.training = False
        theirs = reference(list(x[rows]), targets(Y[rows]))
        assert torch.isclose(ours.mean(), sum(theirs.values()), rtol=1e-5)


def test_answers_are_torchvisions(pair):
    victim, reference = pair
    with torch.no_grad():
        found = kept(victim.predict(pictures()))
        theirs = reference.eval()(list(pictures()))
    for n, one in enumerate(theirs):
        # Its candidates are a thousand of each level, ours of the image; both have a hundred left.
        count = min(60, len(one["scores"]))
        assert torch.allclose(found.score[n, :count], one["scores"][:count], atol=1e-5)
        assert torch.equal(found.label[n, :count], one["labels"][:count])
        assert torch.allclose(found.boxes[n, :count], one["boxes"][:count], atol=1e-3)
    assert toy_or_empty(victim, found)


def toy_or_empty(victim, found):
    """The toy answers much; an untrained network nothing."""
    return ((found.label >= 0).sum() > 50) == (victim is detector())


def test_an_image_has_its_own_loss():
    seen = detector().predict(pictures())
    whole = retinanet_loss(seen, Y)
    for n in range(len(Y)):
        alone = retinanet_loss(seen.rows(lambda value, n=n: value[n : n + 1]), Y[n : n + 1])
        assert torch.isclose(alone, whole[n], rtol=1e-5)
    classes = retinanet_loss(seen, Y, box_weight=0.0)
    boxes = retinanet_loss(seen, Y, class_weight=0.0)
    assert torch.allclose(classes + 2 * boxes, retinanet_loss(seen, Y, box_weight=2.0))
    assert boxes[0] == 0
    assert classes[0] > 0  # answers where there is nothing cost, too


def test_a_classifier_is_refused():
    with pytest.raises(ValueError, match="set model=retinanet"):
        retinanet_loss(Prediction(torch.zeros(2, 3)), Y[:2])


def test_an_image_of_another_size_has_other_anchors():
    with torch.no_grad():
        seen = detector().predict(pictures()[:, :, :32])
    assert seen.logits.shape[2] == len(Anchors((8, 16, 32, 64, 128), 12.0).on((32, 64)))
    with pytest.raises(ValueError, match=r"set data\.size to a multiple of 128"):
        detector().anchors.read(torch.zeros(1, 7, 5), pictures()[:1])
