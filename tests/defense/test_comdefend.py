"""ComDefend: its published networks, its loss, a training, and the gradient past the threshold."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import Tensor
from torch.nn import functional as F

from medrobust.attack.pgd import PGD
from medrobust.data.core.base import Sample
from medrobust.defense.comdefend import ComDefend
from medrobust.defense.core.base import StraightThroughPurifier
from medrobust.number import NumberError
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.oblivious import Oblivious
from medrobust.training.defense.comdefend import ComDefendModule
from medrobust.training.defense.train import TrainingSetup
from tests.support.helpers import small_cnn

SEEDS = torch.arange(6)


def comdefend(channels: int = 3, *, gain: float = 1.0, **settings: Any) -> ComDefend:
    """With weights as drawn; `gain` spreads the code."""
    torch.manual_seed(0)
    made = ComDefend("comdefend", "nowhere.ckpt", **{"width": 0.25} | settings)
    made.build(channels)
    with torch.no_grad():
        made.compress[-1].weight *= gain
        made.compress[-1].bias.zero_()
    made.meta = SimpleNamespace()
    return made.eval().requires_grad_(False)


def module_of(defense: ComDefend) -> ComDefendModule:
    data = SimpleNamespace(size=16, channels=3)
    setup = TrainingSetup(data, torch.optim.Adam, None, seed=0, recipe={})
    defense.requires_grad_(True)
    return defense.training_module(setup)


def pictures(channels: int = 3, height: int = 16, width: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, channels, 4, 4, generator=generator)
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0.05, 0.95)


def batch(images: Tensor) -> Sample:
    return Sample(images, torch.zeros(len(images)), [f"toy/{i}" for i in range(len(images))])


def test_published_size() -> None:
    """Channels and kernels of the authors' released code, `Train_comdefend_Torch.py`."""
    made = ComDefend("comdefend", "nowhere.ckpt", width=1.0)
    with torch.device("meta"):
        made.build(3)
    for network, channels in (
        (made.compress, (3, 16, 32, 64, 128, 256, 128, 64, 32, 12)),
        (made.reconstruct, (12, 32, 64, 128, 256, 128, 64, 32, 16, 3)),
    ):
        layers = [layer for layer in network if isinstance(layer, torch.nn.Conv2d)]
        shapes = [tuple(layer.weight.shape) for layer in layers]
        pairs = pairwise(channels)
        assert shapes == [(after, before, 3, 3) for before, after in pairs]
        kinds = [type(layer).__name__ for layer in network]
        assert kinds == ["Conv2d", "ELU"] * 8 + ["Conv2d"]


def test_the_purified_image_against_numpy() -> None:
    defense = comdefend(1, gain=50.0, width=0.05).double()
    x = pictures(1, 7, 9).double()

    def network(layers: Any, maps: Any) -> Any:
        for layer in layers:
            if isinstance(layer, torch.nn.ELU):
                maps = [np.where(m > 0, m, np.exp(np.minimum(m, 0)) - 1) for m in maps]
                continue
            weight, bias = layer.weight.numpy(), layer.bias.numpy()
            maps = [
                sum(correlate2d(m, w, mode="same") for m, w in zip(maps, row, strict=True)) + b
                for row, b in zip(weight, bias, strict=True)
            ]
        return maps

    found = defense.purify(x, seeds=SEEDS)
    for image, ours in zip(x.numpy(), found.numpy(), strict=True):
        code = [(z > 0).astype(float) for z in network(defense.compress, list(image - 0.5))]
        assert len(code) == 4
        expected = 1 / (1 + np.exp(-np.stack(network(defense.reconstruct, code))))
        np.testing.assert_allclose(ours, expected, atol=1e-10)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 16, 16), (3, 12, 28), (1, 28, 8)])
def test_every_image_is_purified_alike_in_any_batch(shape: tuple[int, int, int]) -> None:
    defense, x = comdefend(shape[0], gain=50.0), pictures(*shape)
    found = defense.purify(x, seeds=SEEDS)
    assert found.shape == x.shape
    assert found.dtype == torch.float32
    assert 0 <= found.min() <= found.max() <= 1
    for rows in (slice(2, 3), slice(0, 4)):
        assert torch.equal(defense.purify(x[rows], seeds=SEEDS[rows]), found[rows])


def test_loss_is_that_of_the_authors_code() -> None:
    """mean (y - x)² + λ mean sigmoid(z - φ n)²; the sign of symmetric noise is free."""
    defense = comdefend(penalty=0.3, noise=2.0, patch_px=16)
    module, x = module_of(defense), pictures()
    torch.manual_seed(3)
    found = module.loss(batch(x))
    torch.manual_seed(3)
    torch.randint(1, ())  # the crop's place
    torch.randint(1, ())
    z = defense.compress(x - 0.5)
    code = torch.sigmoid(z - 2.0 * -torch.randn_like(z))
    y = torch.sigmoid(defense.reconstruct(code))
    torch.testing.assert_close(found, ((y - x) ** 2).mean() + 0.3 * (code**2).mean())


def test_training_lowers_the_error_of_the_thresholded_code_and_spreads_it() -> None:
    defense = comdefend(width=0.1, patch_px=12)
    module, images = module_of(defense), batch(pictures())
    with torch.no_grad():
        before = module.measure(images)
        spread = defense.code(images.image).abs().mean()
    optimizer = torch.optim.Adam(module.trained(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        module.loss(images).backward()
        optimizer.step()
    with torch.no_grad():
        after = module.measure(images)
        assert after["mse"] < 0.8 * before["mse"]
        assert defense.code(images.image).abs().mean() > 10 * spread
    assert 0 < after["ones"] < 1


def test_the_gradient_is_that_of_the_softsign_and_never_vanishes() -> None:
    """Exact through both networks: against the same with a smooth code in the threshold's place."""
    defense = comdefend(gain=1e4, width=0.1).double()
    x = pictures(height=7, width=6).double().requires_grad_()
    z = defense.code(x)
    assert z.abs().median() > 100
    smooth = (1 + z / (1 + z.abs())) / 2
    binary = (z > 0).double()
    away = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    code = (binary - smooth).detach() + smooth  # the threshold's value, the softsign's derivative
    (expected,) = torch.autograd.grad((defense.image(code) * away).sum(), x)
    (found,) = torch.autograd.grad((defense.purify(x, seeds=SEEDS) * away).sum(), x)
    torch.testing.assert_close(found, expected)
    assert (found.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.slow
def test_knowing_the_defense_beats_passing_straight_through_it() -> None:
    """On a short training's weights, whose purified images have something to do with images."""
    x = pictures()
    defense = comdefend(width=0.25, noise=2.0, patch_px=16)
    module = module_of(defense)
    optimizer = torch.optim.Adam(module.trained(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        module.loss(batch(x)).backward()
        optimizer.step()
    defense.eval().requires_grad_(False)
    victim, attack = small_cnn(), PGD(32 / 255, steps=16)
    with torch.no_grad():
        y = defense(x, victim, seeds=SEEDS).logits.argmax(1)

    def loss(x: Tensor) -> Tensor:
        with torch.no_grad():
            return F.cross_entropy(defense(x, victim, seeds=SEEDS).logits, y)

    ours = loss(attack(Adaptive(eot_samples=1)(victim, defense), x, y, seeds=SEEDS))

    class Straight(StraightThroughPurifier):
        def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
            return defense.purify(x, seeds=seeds)

    straight = loss(attack(Adaptive(eot_samples=1)(victim, Straight()), x, y, seeds=SEEDS))
    unaware = loss(attack(Oblivious()(victim, defense), x, y, seeds=SEEDS))
    assert ours > straight
    assert ours > unaware > 0


def test_bad_settings_are_refused() -> None:
    for settings in (
        {"bits": 0}, {"bits": 1.5}, {"width": 0}, {"noise": 0}, {"noise": -1}, {"penalty": -1},
        {"patch_px": 4},
    ):  # fmt: skip
        with pytest.raises(NumberError, match=r"defense\."):
            comdefend(**settings)
