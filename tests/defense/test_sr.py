"""SR: its network, its pairs, a training, and what is done with weights."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medrobust.data.core.base import Sample
from medrobust.defense.core.checkpoint import MissingDefenseError
from medrobust.defense.core.learned import UntrainedDefenseError
from medrobust.defense.network.edsr import EDSR
from medrobust.defense.network.steady import steady
from medrobust.defense.sr import SR, resize
from medrobust.defense.wavelet import Wavelet
from medrobust.number import NumberError
from medrobust.training.defense.sr import SRModule
from medrobust.training.defense.train import TrainingSetup
from tests.support.helpers import small_cnn

SEEDS = torch.arange(4)


def sr(**settings) -> SR:
    return SR("sr", "nowhere.ckpt", **{"features": 8, "blocks": 2} | settings)


def deployed(channels: int = 3, **settings) -> SR:
    """With weights as drawn."""
    torch.manual_seed(0)
    made = sr(**settings)
    made.build(channels)
    made.meta = SimpleNamespace()
    return made.eval().requires_grad_(False)


def pictures(channels: int = 3, height: int = 16, width: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, channels, 5, 5, generator=generator)
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def module(defense: SR) -> SRModule:
    defense.build(3)
    data = SimpleNamespace(size=16, channels=3)
    setup = TrainingSetup(data, torch.optim.Adam, None, seed=0, recipe={})
    return defense.training_module(setup)


def batch(images: torch.Tensor) -> Sample:
    return Sample(images, torch.zeros(len(images)), [f"toy/{i}" for i in range(len(images))])


def test_the_released_sizes_have_their_published_numbers_of_weights():
    """EDSR's Table 1: 1.5 M of the baseline (×2: 1.37 M) and 43 M (×2: 40.7 M)."""
    count = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
    assert count(EDSR(3, features=64, blocks=16)) == 1_369_859
    with torch.device("meta"):
        assert round(count(EDSR(3, features=256, blocks=32, residual_scale=0.1)) / 1e6, 1) == 40.7


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_network_enlarges(scale):
    assert EDSR(1, features=4, blocks=1, scale=scale)(torch.rand(2, 1, 7, 5)).shape == (
        2,
        1,
        7 * scale,
        5 * scale,
    )


def test_resizing_equals_pillow():
    from PIL import Image

    image = pictures(1, 24, 24)[0, 0]
    small = Image.fromarray(image.numpy()).resize((12, 12), Image.Resampling.BICUBIC)
    found = resize(image[None, None], (12, 12))[0, 0].numpy()
    np.testing.assert_allclose(found, np.asarray(small).clip(0, 1), atol=1e-5)


def test_a_training_restores_more_than_before():
    torch.manual_seed(1)
    training = module(sr(patch_px=12))
    images = batch(pictures())
    optimizer = torch.optim.Adam(training.trained(), lr=3e-3)
    with torch.no_grad():
        before = training.measure(images)["mse"]
    for _ in range(40):
        optimizer.zero_grad()
        training.loss(images).backward()
        optimizer.step()
    with torch.no_grad():
        after = training.measure(images)
    assert after["mse"] < 0.2 * before
    assert after["mse_bicubic"] > 0


@pytest.mark.parametrize("channels", [1, 3])
def test_deployed_it_denoises_enlarges_and_comes_back(channels):
    x = pictures(channels, 14, 19)
    defense = deployed(channels)
    found = defense.purify(x, seeds=SEEDS)
    large = steady(defense.network, Wavelet(0.04).purify(x, seeds=SEEDS)).clamp(0, 1)
    assert large.shape[2:] == (28, 38)
    torch.testing.assert_close(found, resize(large, (14, 19)))
    kept = deployed(channels, enlarged=True)
    assert torch.equal(kept.purify(x, seeds=SEEDS), large)
    assert kept.view(x, seeds=SEEDS).shape == x.shape


@pytest.mark.parametrize("enlarged", [False, True])
def test_gradient_is_exact(enlarged):
    defense = deployed(enlarged=enlarged, sigma=0.02).double()
    defense.network.tail[-1].bias.data.zero_()  # away from black and white
    x = (0.4 + 0.2 * pictures(height=6, width=5)[:2]).double()
    x += 0.04 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    purify = lambda x: defense.purify(x, seeds=SEEDS[:2])  # noqa: E731
    assert torch.autograd.gradcheck(purify, x.requires_grad_(), fast_mode=True)


def test_weights_decide_the_fingerprint_and_deployment_needs_no_other_training():
    torch.manual_seed(3)
    one, other = deployed(), deployed(enlarged=True)
    assert one.fingerprint != other.fingerprint
    assert one.training_settings == other.training_settings
    assert one.training_settings != sr(blocks=3).training_settings
    next(other.parameters()).add_(1)
    assert other.fingerprint != deployed(enlarged=True).fingerprint


def test_untrained_and_bad_input_are_refused(tmp_path):
    with pytest.raises(UntrainedDefenseError, match=r"medrobust train defense=sr"):
        sr().purify(pictures(), seeds=SEEDS)
    data = SimpleNamespace(phantom=True, name="toy")
    with pytest.raises(MissingDefenseError, match=r"medrobust train defense=sr data=toy"):
        sr().fit(small_cnn(), data)
    for settings in ({"sigma": 0}, {"features": 0}, {"blocks": 0}, {"scale": 5}, {"patch_px": 2}):
        with pytest.raises(NumberError, match=r"defense\."):
            sr(**settings)
    with pytest.raises(ValueError, match="scale=5"):
        EDSR(3, features=4, blocks=1, scale=5)
