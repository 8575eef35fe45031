"""Rotation against SciPy and torchvision, resizing against torch's own."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from medrobust.defense.noise.augmentation import Resizing, Rotation
from medrobust.number import NumberError
from medrobust.rng import sample_seeds, uniform

IMAGES = torch.rand(6, 3, 23, 30, generator=torch.Generator().manual_seed(0))
SEEDS = sample_seeds(0, [str(i) for i in range(6)])


@pytest.mark.parametrize("shape", [(23, 30), (16, 16), (31, 12)])
def test_rotation_equals_scipy(shape):
    x = torch.rand(6, 3, *shape, generator=torch.Generator().manual_seed(1))
    found = Rotation(10, 100)(x, seeds=SEEDS).numpy()
    angles = 10 + 90 * uniform(SEEDS, (1,))[:, 0].double()
    assert len(angles.unique()) == 6
    for image, angle, turned in zip(x.numpy(), angles, found, strict=True):
        expected = ndimage.rotate(
            image, float(angle), axes=(1, 2), reshape=False, order=1, mode="grid-constant"
        )
        # SciPy's positive angle turns the rows' axis to the columns': clockwise as displayed.
        np.testing.assert_allclose(turned, expected, atol=2e-5)


def test_rotation_is_counter_clockwise_and_equals_torchvision():
    square = IMAGES[:, :, :, :23]
    quarter = Rotation(90, 90)(square, seeds=SEEDS)
    torch.testing.assert_close(quarter, torch.rot90(square, 1, (2, 3)), atol=2e-5, rtol=0)
    found = Rotation(33, 33)(IMAGES, seeds=SEEDS)
    expected = transform.rotate(IMAGES, 33.0, InterpolationMode.BILINEAR)
    whole = transform.rotate(torch.ones_like(IMAGES), 33.0, InterpolationMode.NEAREST) == 1
    # At the cut edge torchvision weighs by its own mask.
    inner = F.max_pool2d((~whole).float(), 5, 1, 2) == 0
    assert inner.float().mean() > 0.4
    torch.testing.assert_close(found[inner], expected[inner], atol=2e-5, rtol=0)


@pytest.mark.parametrize("length", [20, 21, 22, 24])
def test_resizing_equals_interpolate_twice(length):
    x = torch.rand(6, 3, 24, 36, generator=torch.Generator().manual_seed(2))
    share = length / 24
    found = Resizing(share, share)(x, seeds=SEEDS)
    small = F.interpolate(x, (length, round(36 * share)), mode="bilinear")
    expected = F.interpolate(small, (24, 36), mode="bilinear")
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_resizing_draws_every_size_of_the_paper():
    """25 of them at 224 pixels, the full one included."""
    ramp = torch.linspace(0, 1, 224).expand(400, 1, 1, 224)
    seeds = sample_seeds(3, [str(i) for i in range(400)])
    kinds = torch.unique(Resizing()(ramp, seeds=seeds)[:, 0, 0], dim=0)
    assert len(kinds) == 25
    assert (kinds - ramp[0, 0, 0]).abs().amax(1).min() < 2e-6


@pytest.mark.parametrize("noise", [Rotation(), Resizing(0.6, 0.9)])
def test_gradient_is_exact(noise):
    x = IMAGES[:2, :1, :7, :9].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: noise(x, seeds=SEEDS[:2]), x)


@pytest.mark.parametrize("noise", [Rotation(), Resizing()])
def test_white_stays_in_range_and_keeps_its_gradient(noise):
    x = torch.ones(6, 3, 28, 28, requires_grad=True)
    found = noise(x, seeds=SEEDS)
    assert found.min() >= 0
    assert found.max() <= 1
    (grad,) = torch.autograd.grad(found[:, :, 10:18, 10:18].sum(), x)
    torch.testing.assert_close(grad.sum(), torch.tensor(6 * 3 * 64.0), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rotation(50, 40), r"defense\.noise\.low_degrees=50"),
        (lambda: Rotation(0, 400), r"defense\.noise\.high_degrees=400"),
        (lambda: Resizing(0, 1), r"defense\.noise\.low=0"),
        (lambda: Resizing(0.9, 0.8), r"defense\.noise\.low=0\.9"),
        (lambda: Resizing(0.9, 1.2), r"defense\.noise\.high=1\.2"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(NumberError, match=message):
        make()
