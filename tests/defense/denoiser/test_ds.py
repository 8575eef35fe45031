"""Denoisers of denoised smoothing: first order, zeroth order, and with an autoencoder."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.data.core.base import Sample
from medrobust.defense.core.learned import UntrainedDefenseError
from medrobust.defense.denoiser.ds import DS
from medrobust.defense.denoiser.estimator import CGE, RGE
from medrobust.defense.denoiser.zo_ae_ds import ZOAEDS
from medrobust.defense.denoiser.zo_ds import ZODS
from medrobust.defense.network.autoencoder import Autoencoder
from medrobust.defense.network.dncnn import DnCNN
from medrobust.model.core.victim import Victim
from medrobust.number import NumberError
from medrobust.rng import fold_in
from medrobust.training.defense.denoising import DenoisingModule
from medrobust.training.defense.train import DefenseModule, TrainingSetup
from tests.support.helpers import linear_victim, small_cnn

SMALL: dict[str, Any] = {"depth": 3, "features": 6, "warm_epochs": 1}
AE: dict[str, Any] = {"levels": 2, "code_maps": 2, "encoder_features": 4}
DATA = SimpleNamespace(size=8, channels=3)


def ds(**settings: Any) -> DS:
    return DS("ds", "nowhere.ckpt", **SMALL | settings)


def zo_ds(estimator: Any = None, **settings: Any) -> ZODS:
    return ZODS("zo_ds", "nowhere.ckpt", estimator=estimator or CGE(), **SMALL | settings)


def zo_ae_ds(estimator: Any = None, **settings: Any) -> ZOAEDS:
    arguments = AE | SMALL | settings
    return ZOAEDS("zo_ae_ds", "nowhere.ckpt", estimator=estimator or CGE(), **arguments)


KINDS: list[Callable[..., DS]] = [ds, zo_ds, zo_ae_ds]


def built(defense: DS, dtype: torch.dtype = torch.float32) -> DS:
    """With weights as drawn, of which none is zero."""
    torch.manual_seed(0)
    defense.build(3)
    nn.init.normal_(defense.denoiser.noise[-1].weight, std=0.1)  # type: ignore[union-attr,index]
    return defense.to(dtype)


def module(defense: DS, victim: Victim, *, epoch: int = 1) -> DefenseModule:
    """As in an epoch of its training."""
    setup = TrainingSetup(DATA, torch.optim.Adam, None, 0, {}, victim)  # type: ignore[arg-type]
    made = defense.training_module(setup).to(next(defense.parameters()).dtype)
    made.current_epoch = epoch  # type: ignore[misc,assignment]
    return made


@pytest.fixture(autouse=True)
def _epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules without a trainer, which have an epoch all the same."""
    monkeypatch.setattr(DenoisingModule, "current_epoch", 1)


def batch(count: int = 4, dtype: torch.dtype = torch.float32) -> Sample:
    x = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    return Sample(x, torch.zeros(count).long(), [f"toy/{i}" for i in range(count)])


def grads(made: DefenseModule, sample: Sample) -> dict[str, Tensor]:
    made.zero_grad()
    made.loss(sample).backward()
    return {
        name: weight.grad.clone()
        for name, weight in made.defense.named_parameters()
        if weight.grad is not None
    }


def test_published_sizes() -> None:
    net = DnCNN(3, features=64, depth=17)
    inside = 15 * (64 * 64 * 9 + 2 * 64)
    assert sum(w.numel() for w in net.parameters()) == 28 * 64 + inside + 577 * 3
    assert torch.equal(net.eval()(batch().image), batch().image)  # begins as the identity
    auto = Autoencoder(3, levels=3, maps=12, features=8)
    x = torch.rand(2, 3, 32, 32)
    assert auto.encoder(x).numel() * 16 == x.numel()  # the rate of Zhang et al. on CIFAR-10
    assert auto(x).shape == x.shape
    assert 0 < auto(x).min() < auto(x).max() < 1


def test_loss_is_eq_1() -> None:
    victim, defense = small_cnn().double(), built(ds(gamma=0.3), torch.float64)
    made, sample = module(defense, victim), batch(dtype=torch.float64)
    found = made.loss(sample)
    noisy = made.noisy(sample.image, _step_seeds(made, sample))
    denoised = defense.denoiser(noisy)
    target = victim(sample.image).argmax(1)
    stable = F.cross_entropy(victim(denoised.clamp(0, 1)), target)
    torch.testing.assert_close(found, (denoised - sample.image).square().mean() + 0.3 * stable)


def _step_seeds(made: DefenseModule, sample: Sample) -> Tensor:
    return fold_in(made.seeds(sample), made.current_epoch)


def test_noise_is_that_of_the_smoothing() -> None:
    made = module(built(ds(sigma=0.1)), small_cnn())
    grey = torch.full((200, 3, 8, 8), 0.5)
    noisy = made.noisy(grey, torch.arange(200))
    assert noisy.std().item() == pytest.approx(0.1, rel=0.02)
    assert torch.equal(noisy[7:8], made.noisy(grey[7:8], torch.arange(7, 8)))
    assert made.noisy(torch.zeros(9, 3, 8, 8), torch.arange(9)).min() == 0


@pytest.mark.parametrize("segments", [False, True])
def test_coordinates_train_as_the_first_order_does(segments: bool) -> None:
    """All coordinates in float64: the estimate is the gradient but for O(mu²)."""
    victim = segmenter() if segments else small_cnn().double()
    sample = batch(2, torch.float64)
    exact = grads(module(built(ds(gamma=1.0), torch.float64), victim), sample)
    asked = grads(module(built(zo_ds(CGE(mu=1e-6), gamma=1.0), torch.float64), victim), sample)
    assert set(exact) == set(asked)
    for name, grad in exact.items():
        torch.testing.assert_close(asked[name], grad, rtol=1e-3, atol=1e-6)


def segmenter() -> Victim:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 1))
    return Victim(net, mean=[0.5] * 3, std=[0.5] * 3, architecture={}).double().freeze()


def test_the_chain_rule_reaches_denoiser_and_encoder_and_spares_the_decoder() -> None:
    """As autograd through decoder and victim would, were they not a black box."""
    victim, sample = small_cnn().double(), batch(2, torch.float64)
    defense = built(zo_ae_ds(CGE(mu=1e-6), gamma=1.0), torch.float64)
    made = module(defense, victim)
    asked = grads(made, sample)
    assert {name.split(".")[0] for name in asked} == {"denoiser", "encoder"}
    made.zero_grad()
    denoised = defense.denoise(made.noisy(sample.image, _step_seeds(made, sample)))
    logits = victim(defense.decoder(defense.encoder(denoised)))
    stable = F.cross_entropy(logits, victim(sample.image).argmax(1))
    (F.mse_loss(denoised, sample.image) + stable).backward()
    for name, weight in defense.named_parameters():
        if name in asked:
            torch.testing.assert_close(asked[name], weight.grad, rtol=1e-3, atol=1e-7)


class NoWayBack(torch.autograd.Function):
    """The identity, through which nobody differentiates."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        raise AssertionError("someone took the victim's gradient")


class Sealed(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = NoWayBack.apply(self.network(x))
        return found


@pytest.mark.parametrize("make", [zo_ds, zo_ae_ds])
@pytest.mark.parametrize("estimator", [RGE(4), CGE(4)], ids=["rge", "cge"])
def test_no_gradient_of_the_victim_is_used(make: Callable[..., DS], estimator: Any) -> None:
    """A victim whose backward pass raises trains the same weights, bit for bit."""
    plain = linear_victim()
    sealed = Victim(Sealed(plain.network), mean=[0.5] * 3, std=[0.5] * 3, architecture={}).freeze()
    found = [grads(module(built(make(estimator)), victim), batch()) for victim in (plain, sealed)]
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(grad, found[1][name]) for name, grad in found[0].items())
    assert any(grad.any() for grad in found[0].values())
    with pytest.raises(AssertionError, match="victim's gradient"):
        grads(module(built(ds()), sealed), batch())  # the first order does take it
    made = module(built(make(estimator)), sealed)
    assert made.victim is None
    assert not any(isinstance(part, Victim) for part in made.modules())


def test_queries_are_counted() -> None:
    made = module(built(zo_ae_ds(RGE(5))), small_cnn())
    made.loss(batch(3))
    assert made.box.queries == 3 * (5 + 1 + 1)  # around the code, at it, and at the clean image
    with torch.no_grad():
        made.measure(batch(3))
    assert made.box.queries == 3 * 7 + 3 * 2
    warm = module(built(zo_ae_ds(RGE(5))), small_cnn(), epoch=0)
    warm.loss(batch(3)).backward()
    assert warm.box.queries == 0
    assert all(weight.grad is not None for weight in warm.defense.parameters())


@pytest.mark.parametrize("make", KINDS)
def test_deployed_it_is_the_chain(make: Callable[..., DS]) -> None:
    defense, x = built(make()).eval().requires_grad_(False), batch().image
    found = defense.restore(x, seeds=torch.arange(4))
    expected = defense.denoiser(x)
    if isinstance(defense, ZOAEDS):
        expected = defense.decoder(defense.encoder(expected))
    torch.testing.assert_close(found, expected.clamp(0, 1))
    with pytest.raises(UntrainedDefenseError, match=r"medrobust train defense="):
        defense.purify(x, seeds=torch.arange(4))


def test_bad_settings_are_refused() -> None:
    for make, settings in (
        (ds, {"sigma": 0}), (ds, {"sigma": 11}), (ds, {"sigma": "x"}), (ds, {"gamma": 0}),
        (ds, {"warm_epochs": -1}), (ds, {"depth": 2}), (zo_ds, {"features": 0}),
        (zo_ae_ds, {"levels": 0}), (zo_ae_ds, {"code_maps": 0}),
        (zo_ae_ds, {"encoder_features": 0}),
    ):  # fmt: skip
        with pytest.raises(NumberError, match=r"defense\.denoiser\."):
            make(**settings)
    with pytest.raises(ValueError, match=r"code_maps=16 with levels=2 .* below 16"):
        zo_ae_ds(code_maps=16)
    with pytest.raises(ValueError, match=r"warm_epochs=0 .* at least 1"):
        zo_ae_ds(warm_epochs=0)
    with pytest.raises(ValueError, match=r"10 × 8 pixels.*divisible by 4; set data\.size="):
        built(zo_ae_ds()).restore(torch.rand(1, 3, 10, 8), seeds=torch.arange(1))
    many = module(built(zo_ae_ds(CGE(25))), small_cnn())  # the code has 2 · 3 · 2 · 2 numbers
    with pytest.raises(ValueError, match=r"estimator\.q=25 .* has 24"):
        many.loss(batch())


def test_there_must_be_epochs_for_the_stability_loss() -> None:
    made = module(built(ds(warm_epochs=3)), small_cnn())
    made._trainer = SimpleNamespace(max_epochs=3)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"warm_epochs=3 of trainer\.max_epochs=3"):
        made.on_fit_start()
