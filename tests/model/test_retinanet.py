"""RetinaNet as a victim: one tensor out, read over anchors, saved and loaded, fast alike."""

import pytest
import torch

from medrobust.model.core.checkpoint import VictimMeta, load_victim, save_victim
from medrobust.model.retinanet import build
from tests.support.boxes import CLASSES, SIZE, pictures, whole_network


def test_shapes_and_gradients():
    victim = whole_network()
    x = pictures().clone().requires_grad_()
    seen = victim.predict(x)
    count = seen.logits.shape[2]
    assert seen.logits.shape == (len(x), CLASSES, count)
    assert seen.anchored.boxes.shape == (len(x), count, 4)
    assert victim(x).shape == (len(x), CLASSES + 4, count)
    (seen.logits.sum() + seen.anchored.offsets.sum()).backward()
    assert (x.grad.flatten(1).abs().amax(1) > 0).all()
    assert seen.probability.amax() < 0.05  # the head begins by answering nothing


def test_a_loaded_victim_answers_the_same(tmp_path):
    victim = whole_network().freeze()
    meta = VictimMeta(
        data="toy",
        data_key="toy",
        data_digest="d",
        phantom=True,
        task="detection",
        classes=["a", "b", "c"],
        seed=0,
        epochs=1,
        best_epoch=0,
        scores={},
    )
    save_victim(tmp_path / "v.ckpt", victim, meta)
    loaded = load_victim(tmp_path / "v.ckpt", train_command="train")
    assert loaded.fingerprint == victim.fingerprint
    seen, again = victim.predict(pictures()), loaded.predict(pictures())
    assert torch.equal(seen.logits, again.logits)
    assert torch.equal(seen.anchored.boxes, again.anchored.boxes)


def test_the_fast_form_and_half_precision_answer_alike():
    victim = whole_network().freeze()
    for module in victim.network.modules():  # as if trained: norms that do something
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    plain = victim.predict(pictures())
    fast = victim.accelerate().predict(pictures())
    assert torch.allclose(plain.logits, fast.logits, atol=1e-4)
    assert torch.allclose(plain.anchored.offsets, fast.anchored.offsets, atol=1e-4)
    with victim.reduced_precision():
        half = victim.predict(pictures())
    assert torch.allclose(plain.logits, half.logits, atol=0.2)
    assert half.logits.dtype == torch.float32


def test_grey_images_and_bad_sizes():
    victim = whole_network().freeze()
    assert victim.predict(pictures()[:, :1]).logits.shape[0] == len(pictures())
    with pytest.raises(ValueError, match="channels=0"):
        build(CLASSES, name="r", backbone="resnet10t", channels=0)
    assert SIZE % 8 == 0
