"""What a victim adds to its network: single logits, taps in any batch, reduced precision."""

import pytest
import torch
from torch import nn

from medrobust.model.core.victim import Victim

X = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def single_logit() -> Victim:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))
    return Victim(network, mean=[0.5] * 3, std=[0.5] * 3, architecture={})


@pytest.mark.parametrize("training", [False, True])
def test_a_single_logit_is_two_classes(training: bool) -> None:
    victim = single_logit().train(training)
    logits = victim(X)
    raw = victim.network(victim.normalise(X)).flatten()
    assert logits.shape == (5, 2)
    torch.testing.assert_close(logits.softmax(1)[:, 1], raw.sigmoid())
    assert torch.equal(logits.argmax(1), (raw > 0).long())


def test_taps_hold_the_images_asked_about() -> None:
    """Small batches are filled up inside; nobody sees it."""
    victim = single_logit().freeze()
    logits, seen = victim.features(X[:3], ["0", "3"])
    assert seen["0"].shape == (3, 4, 6, 6)
    torch.testing.assert_close(seen["3"].flatten(), logits[:, 1])


def test_tapped_sees_through_an_accelerated_victim_and_ends() -> None:
    victim = single_logit().freeze().accelerate()
    with victim.tapped(["1"]) as caught:
        inside = victim(X)
        assert (caught["1"] >= 0).all()
    torch.testing.assert_close(inside, victim(X), rtol=1e-4, atol=1e-5)
    caught.clear()
    victim(X)
    assert not caught
    assert not victim.network[1]._forward_hooks


def test_reduced_precision_is_a_mode_that_ends() -> None:
    victim = single_logit().freeze().accelerate()
    exact = victim(X)
    with victim.reduced_precision():
        reduced = victim(X)
    assert reduced.dtype == torch.float32
    assert not torch.equal(reduced, exact)
    torch.testing.assert_close(reduced, exact, rtol=0.02, atol=0.02)
    assert torch.equal(victim(X), exact)
    fingerprint = victim.fingerprint
    victim.to(torch.float64)  # a moved victim keeps no stale copy
    with pytest.raises(RuntimeError, match="accelerate"), victim.reduced_precision():
        pass
    assert fingerprint
