"""The accelerated copy: the same numbers up to rounding, and never a stale one."""

import copy

import pytest
import torch
from torch import nn

from medrobust.model.core.fast import accelerated
from medrobust.model.resnet import build as resnet
from medrobust.model.unet import build as unet
from tests.support.helpers import small_cnn

BLOCKS = ["layer1.0", "layer2", "layer4.1"]
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


def cut(size):
    """The first and the last batch of so many images: a batch of few is filled up, and slow."""
    starts = range(0, len(X), size)
    return [slice(start, start + size) for start in {starts[0], starts[-1]}]


def test_same_logits_and_gradients(victim):
    plain, slope = victim(X), gradient(victim, X)
    fingerprint = victim.fingerprint
    victim.accelerate()
    torch.testing.assert_close(victim(X), plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient(victim, X), slope, rtol=1e-3, atol=1e-5)
    assert victim.fingerprint == fingerprint
    assert not any("fast" in name for name in victim.state_dict())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in victim._fast[0].modules())


def test_bit_equal_logits_and_gradients_for_any_batch(victim):
    """Of the copy, which answers in every evaluation; the plain network's rounding is PyTorch's."""
    victim.accelerate()
    whole, slope = victim(X), gradient(victim, X)
    for size in (1, 2, 3, 5, 7, 16, 23):
        for part in cut(size):
            assert torch.equal(victim(X[part]), whole[part]), size
            assert torch.equal(gradient(victim, X[part]), slope[part]), size


def test_new_weights_drop_the_copy(victim):
    victim.accelerate()
    state = {name: value * 0.5 for name, value in victim.state_dict().items()}
    victim.load_state_dict(state)
    fresh = victim(X)
    assert not victim._fast
    torch.testing.assert_close(victim.accelerate()(X), fresh, rtol=1e-4, atol=1e-4)
    assert not victim.double()._fast


def test_features_are_the_plain_ones(victim):
    taps = ["bn1", "act1", "layer2.0.downsample", *BLOCKS, "fc"]

    def seen_and_slope():
        x = X.clone().requires_grad_()
        logits, seen = victim.features(x, taps)
        (slope,) = torch.autograd.grad(seen["layer2"].square().mean(), x)
        return logits.detach(), seen, slope

    logits, plain, slope = seen_and_slope()
    victim.accelerate()
    passes = []
    victim.network.register_forward_hook(lambda *_: passes.append(1))
    fast_logits, fast, fast_slope = seen_and_slope()
    assert not passes
    assert torch.equal(fast_logits, victim(X))
    assert set(fast) == set(taps)
    for tap in taps:
        torch.testing.assert_close(fast[tap], plain[tap], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fast_logits, logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fast_slope, slope, rtol=1e-3, atol=1e-6)


def test_a_folded_convolution_is_seen_in_the_plain_network(victim):
    plain = victim.features(X, ["conv1", "layer2"])[1]
    with victim.accelerate().tapped(["layer2"]) as outer:
        found = victim.features(X, ["conv1", "layer2"])[1]
        assert all(torch.equal(found[tap], plain[tap]) for tap in plain)
        assert torch.equal(outer["layer2"], plain["layer2"])
        victim(X)
        assert not torch.equal(outer["layer2"], plain["layer2"])  # only up to rounding
    assert not any(module._forward_hooks for module in victim._fast[0].modules())


def test_bit_equal_features_for_any_batch(victim):
    whole = victim.accelerate().features(X, BLOCKS)[1]
    for size in (1, 3, 7, 16):
        for part in cut(size):
            seen = victim.features(X[part], BLOCKS)[1]
            assert all(torch.equal(seen[tap], whole[tap][part]) for tap in BLOCKS), size


def test_bit_equal_logits_beside_a_tap_that_needs_the_plain_network(victim):
    victim.accelerate()
    x = torch.rand(3, 3, 72, 72, generator=torch.Generator().manual_seed(1))
    whole, _ = victim.features(x, ["layer1.0.conv1"])
    assert torch.equal(victim.features(x[:1], ["layer1.0.conv1"])[0], whole[:1])


def test_what_is_fast_is_chosen_before_it_is_tapped(victim):
    with victim.tapped(BLOCKS), pytest.raises(RuntimeError, match="before its features are tapped"):
        victim.accelerate()
    victim.accelerate()
    with (
        victim.tapped(BLOCKS),
        pytest.raises(RuntimeError, match=r"outside tapped"),
        victim.reduced_precision(),
    ):
        pass


def test_a_convolution_whose_output_others_see_is_not_folded():
    class Shared(torch.nn.Module):
        """The output of one convolution goes two ways; another stands at the end of a block."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 3, 3), torch.nn.BatchNorm2d(3)
            self.block = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3))
            self.after = torch.nn.BatchNorm2d(3)

        def forward(self, x):
            x = self.conv(x)
            return self.after(self.block(x + self.norm(x)))

    network = Shared().requires_grad_(False).eval()
    network.norm.running_mean.fill_(0.3)
    network.after.running_var.fill_(2)
    fast = accelerated(network)
    torch.testing.assert_close(fast(X), network(X), rtol=1e-4, atol=1e-5)
    assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in fast.modules()) == 2


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


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 2, 3, padding=1), nn.Linear(4, 2)])
def test_a_network_of_a_single_layer(layer: nn.Module) -> None:
    network = copy.deepcopy(layer).eval().requires_grad_(False)
    x = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(accelerated(network)(x), network(x))
