"""The accelerated copy: the same numbers up to rounding, and never a stale one."""

import pytest
import torch
from helpers import small_cnn

from medrobust.model.resnet import build as resnet
from medrobust.model.unet import build as unet

X = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def victim():
    torch.manual_seed(0)
    victim = resnet(name="resnet18", network="resnet18", num_classes=5)
    for module in victim.modules():  # batch norms that do something
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
    return victim.freeze()


def gradient(victim, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(victim(x).logsumexp(1).sum(), x)[0]


def test_same_logits_and_gradients(victim):
    plain, slope = victim(X), gradient(victim, X)
    fingerprint = victim.fingerprint
    victim.accelerate()
    torch.testing.assert_close(victim(X), plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient(victim, X), slope, rtol=1e-3, atol=1e-5)
    assert victim.fingerprint == fingerprint
    assert not any("fast" in name for name in victim.state_dict())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in victim._fast[0].modules())


@pytest.mark.parametrize("fast", [False, True])
def test_bit_equal_logits_and_gradients_for_any_batch(victim, fast):
    if fast:
        victim.accelerate()
    whole, slope = victim(X), gradient(victim, X)
    for size in (1, 2, 3, 5, 7, 16, 23):
        assert torch.equal(torch.cat([victim(part) for part in X.split(size)]), whole), size
        parts = [gradient(victim, part) for part in X.split(size)]
        assert torch.equal(torch.cat(parts), slope), size


def test_new_weights_drop_the_copy(victim):
    victim.accelerate()
    state = {name: value * 0.5 for name, value in victim.state_dict().items()}
    victim.load_state_dict(state)
    fresh = victim(X)
    assert not victim._fast
    torch.testing.assert_close(victim.accelerate()(X), fresh, rtol=1e-4, atol=1e-4)
    assert not victim.double()._fast


def test_segmenters_too():
    torch.manual_seed(0)
    victim = unet(name="unet", encoder="resnet18", num_classes=2).freeze()
    plain = victim(X[:2])
    torch.testing.assert_close(victim.accelerate()(X[:2]), plain, rtol=1e-4, atol=1e-4)


def test_training_networks_are_refused():
    victim = small_cnn()
    victim.network.requires_grad_(True)
    with pytest.raises(ValueError, match="only a frozen network"):
        victim.accelerate()
