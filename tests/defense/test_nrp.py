"""NRP: its attack, its features, a training, and the deployed purifier."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medrobust.data.core.base import Sample
from medrobust.defense.core.checkpoint import MissingDefenseError
from medrobust.defense.core.feature import Features, OfImageNet, OfVictim, UpTo
from medrobust.defense.core.learned import UntrainedDefenseError
from medrobust.defense.core.ssp import perturb
from medrobust.defense.network.rrdn import RRDN
from medrobust.defense.nrp import NRP
from medrobust.model.core.checkpoint import MissingVictimError
from medrobust.model.core.pretrained import PretrainedError
from medrobust.number import NumberError
from medrobust.training.defense.nrp import NRPModule, relativistic
from medrobust.training.defense.train import TrainingSetup
from tests.support.helpers import small_cnn

SEEDS = torch.arange(6)
DATA = SimpleNamespace(
    size=16, channels=3, phantom=False, name="toy", manifest=SimpleNamespace(digest="toy"),
    task="classification", classes=("a", "b"),
)  # fmt: skip
SMALL = {"maps": 4, "blocks": 1, "growth": 4, "critic_maps": 4, "critic_blocks": 2, "steps": 3}


class Toy(Features):
    """Of a small network, untrained."""

    def __init__(self, tap: str = "1") -> None:
        super().__init__(tap)

    def network(self, data):
        return small_cnn()


def nrp(**settings) -> NRP:
    return NRP("nrp", "nowhere.ckpt", **{"features": Toy(), **SMALL} | settings)


def deployed(channels: int = 3, **settings) -> NRP:
    """With weights as drawn."""
    torch.manual_seed(0)
    made = nrp(**settings)
    made.build(channels)
    nn.init.normal_(made.network.last.weight, std=0.05)
    made.meta = SimpleNamespace()
    return made.eval().requires_grad_(False)


def training(defense: NRP) -> NRPModule:
    torch.manual_seed(0)
    defense.build(3)
    setup = TrainingSetup(DATA, torch.optim.Adam, None, seed=0, recipe={})
    return defense.training_module(setup)


def pictures(channels: int = 3, height: int = 16, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, channels, 4, 4, generator=generator)
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0.1, 0.9)


def batch(images: torch.Tensor) -> Sample:
    return Sample(images, torch.zeros(len(images)), [f"toy/{i}" for i in range(len(images))])


def test_features_are_the_taps_and_later_layers_are_not_run():
    x = pictures()
    _, taps = small_cnn().features(x, ["3"])
    ran = []
    features = Toy("3").extractor(DATA)
    features.victim.network[4].register_forward_hook(lambda *_: ran.append(1))
    assert torch.equal(features(x), taps["3"])
    assert not ran
    assert not features.train().victim.training


def test_the_attack_stays_in_its_ball_and_grows_with_its_steps():
    x, features = pictures(), Toy().extractor(DATA)
    start = 2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) - 1
    clean = features(x)
    distances = []
    for steps in (0, 1, 3, 10):
        found = perturb(features, x, start, eps=16 / 255, step=4 / 255, steps=steps)
        assert (found - x).abs().max() <= 16 / 255 + 1e-6
        assert found.min() >= 0
        assert found.max() <= 1
        assert not found.requires_grad
        distances.append((features(found) - clean).square().mean().item())
    assert distances == sorted(distances)
    assert distances[-1] > 1.5 * distances[0]


def test_the_attack_finds_the_corner_of_a_linear_map():
    weight = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    features = lambda x: (x * weight).sum(dim=(1, 2, 3))[:, None]  # noqa: E731
    x = torch.full((1, 2, 1, 1), 0.5)
    start = torch.tensor([0.1, 0.2]).view(1, 2, 1, 1)  # changes the feature by -0.03
    down = perturb(features, x, start, eps=0.1, step=0.05, steps=5)
    torch.testing.assert_close(down.flatten(), torch.tensor([0.4, 0.6]))
    up = perturb(features, x, -start, eps=0.1, step=0.05, steps=5)
    torch.testing.assert_close(up.flatten(), torch.tensor([0.6, 0.4]))


def test_released_size():
    """The README of the paper's code speaks of about 14 million; its network has 16.55."""
    with torch.device("meta"):
        net = RRDN(3, features=64, blocks=23, growth=32, skip=False)
    assert sum(p.numel() for p in net.parameters()) == 16_550_275
    x = pictures()
    assert torch.equal(RRDN(3, features=4, blocks=1, growth=2, skip=True)(x), x)


def test_a_training_brings_features_closer_to_the_clean_ones():
    defense = nrp()
    module = training(defense)
    images = batch(pictures())
    with torch.no_grad():
        before = module.measure(images)
    assert before["feature_share"] == 1  # it begins as the identity
    assert before["mse_clean"] == 0
    optimizer = torch.optim.Adam(module.trained(), lr=5e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = module.loss(images)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < sum(losses[:5])
    with torch.no_grad():
        assert module.measure(images)["feature_share"] < 0.95
        assert module.measure(images) == module.measure(images)
    assert all(p.grad is None for p in module.features.parameters())


def test_each_network_is_trained_by_its_own_loss():
    module = training(nrp(feature_weight=0, image_weight=0, critic_weight=0))
    nn.init.normal_(module.defense.network.last.weight, std=0.1)
    module.loss(batch(pictures())).backward()
    assert all(p.grad is None or not p.grad.any() for p in module.defense.parameters())
    critic = [p.grad.clone() for p in module.critic.parameters()]
    assert any(grad.any() for grad in critic)
    module.zero_grad()
    module.defense.derive(critic_weight=1.0)
    torch.manual_seed(5)
    module.loss(batch(pictures())).backward()
    assert any(p.grad.any() for p in module.defense.parameters())
    with_purifier = [p.grad.clone() for p in module.critic.parameters()]
    module.zero_grad()
    module.defense.derive(critic_weight=0.0)
    torch.manual_seed(5)
    module.loss(batch(pictures())).backward()
    for ours, theirs in zip(module.critic.parameters(), with_purifier, strict=True):
        torch.testing.assert_close(ours.grad, theirs)


def test_relativistic_loss():
    real, fake = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    expected = -torch.log(torch.sigmoid(real - fake)).mean()
    torch.testing.assert_close(relativistic(real, fake), expected)


@pytest.mark.parametrize("dynamic", [False, True])
def test_gradient_is_exact(dynamic):
    defense = deployed(dynamic=dynamic).double()
    x = (0.3 + 0.4 * pictures(height=5, width=6)[:2]).double().requires_grad_()
    purify = lambda x: defense.purify(x, seeds=SEEDS[:2])  # noqa: E731
    assert torch.autograd.gradcheck(purify, x, fast_mode=True)


def test_dynamic_noise_belongs_to_the_seed_and_stays_within_eps():
    defense, x = deployed(dynamic=True, noise=0.2), pictures()
    assert defense.random
    assert not deployed().random
    found = defense.purify(x, seeds=SEEDS)
    back = SEEDS.flip(0)
    assert torch.equal(defense.purify(x[back], seeds=SEEDS[back]), found[back])
    assert torch.equal(defense.purify(x[2:3], seeds=SEEDS[2:3]), found[2:3])
    assert not torch.equal(defense.purify(x, seeds=SEEDS + 1), found)
    defense.network = nn.Identity()
    noisy = defense.purify(x, seeds=SEEDS)
    assert 0.9 * defense.eps < (noisy - x).abs().max() <= defense.eps + 1e-6
    assert defense.training_settings == deployed().training_settings


def test_untrained_and_bad_input_are_refused():
    with pytest.raises(UntrainedDefenseError, match=r"medrobust train defense=nrp"):
        nrp().purify(pictures(), seeds=SEEDS)
    with pytest.raises(MissingDefenseError, match=r"medrobust train defense=nrp data=toy"):
        nrp().fit(small_cnn(), DATA)
    for settings in (
        {"eps": 0}, {"step": 2}, {"steps": 0}, {"maps": 0}, {"noise": 0}, {"critic_blocks": 0},
        {"patch_px": 3}, {"image_weight": -1},
    ):  # fmt: skip
        with pytest.raises(NumberError, match=r"defense\."):
            nrp(**settings)
    with pytest.raises(ValueError, match=r"critic_blocks=5 .* 16 pixels"):
        training(nrp(critic_blocks=5))


def test_features_that_are_not_there_are_refused(tmp_path, monkeypatch):
    with pytest.raises(MissingVictimError, match=r"medrobust train data=toy model=resnet18 seed=0"):
        OfVictim(str(tmp_path / "none.ckpt"), "resnet18", "layer1").extractor(DATA)
    with pytest.raises(KeyError, match=r"features\.tap='elsewhere'"):
        Toy("elsewhere").extractor(DATA)
    net = small_cnn()
    net.network[0].add_module("unused", nn.Identity())
    with pytest.raises(RuntimeError, match=r"without running"):
        UpTo(net, "0.unused")(pictures())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("timm.create_model", _no_network)
    with pytest.raises(PretrainedError, match="vgg16"):
        OfImageNet("vgg16", "features.15").extractor(DATA)


def _no_network(*_, **__):
    raise OSError("offline")
