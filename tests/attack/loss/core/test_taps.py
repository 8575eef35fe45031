import pytest
import torch
from torch import nn

from medrobust.attack.loss.core.taps import activations, given, penultimate, victim_of
from medrobust.defense.none import NoDefense
from medrobust.model import mobilenet, resnet, vgg
from medrobust.model.core.victim import Victim
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import VictimSurrogate

X, SEEDS = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(2)


def wrap(network: nn.Module) -> VictimSurrogate:
    victim = Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture={})
    return VictimSurrogate(victim.freeze())


NETWORKS = {
    "resnet18": (lambda: resnet.build(4, name="r", network="resnet18", small_stem=True), "fc", 17),
    "vgg11": (lambda: vgg.build(4, name="v", network="vgg11", small_stem=True), "head.fc", 8),
    "mobilenet": (
        lambda: mobilenet.build(4, name="m", network="mobilenetv2_050", small_stem=True),
        "classifier",
        35,
    ),
}


@pytest.mark.by_default("mobilenet", "resnet18")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_the_package(name: str) -> None:
    build, classifier, count = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        surrogate = VictimSurrogate(build().freeze())
    (deepest,) = penultimate(surrogate, X, SEEDS)
    with torch.no_grad():
        logits, features = surrogate.victim.features(X, [deepest])
        last = surrogate.victim.network.get_submodule(classifier)
        torch.testing.assert_close(last(features[deepest].flatten(1)), logits)
        layers = activations(surrogate, X, SEEDS)
        seen = surrogate.victim.features(X, layers)[1]
    assert len(layers) == count
    assert all(features.ndim == 4 and features.amin() >= 0 for features in seen.values())


def test_order_is_that_of_the_pass_not_of_the_names() -> None:
    class Swapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(6, 3)
            self.unused = nn.Linear(6, 3)
            self.act2 = nn.Tanh()
            self.act1 = nn.ReLU()
            self.gate = nn.Sigmoid()
            self.first = nn.Conv2d(3, 6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.act1(self.first(x)).mean((2, 3))
            return self.classifier(self.act2(hidden * self.gate(hidden)))

    surrogate = wrap(Swapped())
    assert penultimate(surrogate, X, SEEDS) == ("act2",)
    assert activations(surrogate, X, SEEDS) == ("act1", "act2")


def test_a_segmenters_classifier_is_its_last_convolution() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    assert penultimate(wrap(network), X, SEEDS) == ("1",)


def test_nothing_to_find() -> None:
    alone = wrap(nn.Sequential(nn.Conv2d(3, 4, 32)))
    with pytest.raises(ValueError, match=r"attack\.loss\.taps=null, but no module"):
        penultimate(alone, X, SEEDS)
    with pytest.raises(ValueError, match=r"taps=null.*is an activation; name the modules"):
        activations(alone, X, SEEDS)

    class Bare(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :2]

    with pytest.raises(ValueError, match=r"before the classifier"):
        penultimate(wrap(Bare()), X, SEEDS)


def test_the_victim_inside() -> None:
    surrogate = wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    surrogate.victim.accelerate()
    assert victim_of(ReducedPrecision(surrogate)) is surrogate.victim
    assert victim_of(BlackBox()(surrogate.victim, NoDefense())) is surrogate.victim


@pytest.mark.parametrize("taps", ["layer4", []])
def test_bad_names(taps: str | list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected a list of module names"):
        given(taps)
    assert given(None) == ()
    assert given(["a", "b"]) == ("a", "b")
