"""Purifiers against SciPy, scikit-image, torchvision and closed forms."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.gaussian_smoothing import GaussianSmoothing
from medrobust.defense.jpeg import JPEG
from medrobust.defense.median import Median
from medrobust.defense.none import NoDefense
from medrobust.number import NumberError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 17, 23, generator=torch.Generator().manual_seed(0))


SEEDS = torch.arange(5)


@pytest.mark.parametrize("window", [3, 5, 7])
def test_median_equals_scipy(images, window):
    expected = ndimage.median_filter(images.numpy(), size=(1, 1, window, window), mode="mirror")
    np.testing.assert_array_equal(Median(window).purify(images, seeds=SEEDS).numpy(), expected)


def test_median_gradient_is_exact(images):
    x = images[:1, :1, :6, :6].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Median(3).purify(x, seeds=SEEDS[:1]), x)


@pytest.mark.parametrize(("sigma", "window"), [(1.0, 3), (0.7, 5), (2.0, 7)])
def test_gaussian_equals_scipy(images, sigma, window):
    kernel = np.exp(-0.5 * (np.arange(window) - window // 2) ** 2 / sigma**2)
    kernel /= kernel.sum()
    expected = images.numpy()
    for axis in (2, 3):
        expected = ndimage.convolve1d(expected, kernel, axis=axis, mode="mirror")
    found = GaussianSmoothing(sigma, window).purify(images, seeds=SEEDS).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("quality", [20, 75, 95])
def test_jpeg_equals_torchvision(quality):
    smooth = torch.nn.functional.interpolate(
        torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1)), 48, mode="bicubic"
    ).clamp(0, 1)
    found = JPEG(quality).purify(smooth, seeds=SEEDS[:4])
    eight = (smooth * 255).round().to(torch.uint8)
    expected = torch.stack(
        [decode_jpeg(encode_jpeg(image, quality), ImageReadMode.RGB) for image in eight]
    )
    # Both call libjpeg; builds differ in the inverse DCT by a grey level.
    assert ((found * 255).round() - expected).abs().max() <= 2
    assert ((found * 255).round() - expected).abs().float().mean() < 0.1


def test_jpeg_keeps_grey_images_grey_and_worsens_with_lower_quality(images):
    grey = images[:, :1]
    errors = [
        (JPEG(quality).purify(grey, seeds=SEEDS) - grey).abs().mean() for quality in (95, 50, 10)
    ]
    assert JPEG().purify(grey, seeds=SEEDS).shape == grey.shape
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("bits", range(1, 9))
def test_bit_depth_levels_and_error(images, bits):
    found = BitDepth(bits).purify(images, seeds=SEEDS)
    levels = 2**bits - 1
    assert ((found * levels) - (found * levels).round()).abs().max() < 1e-4
    assert (found - images).abs().max() <= 0.5 / levels + 1e-6
    torch.testing.assert_close(BitDepth(bits).purify(found, seeds=SEEDS), found)


def test_no_defense_is_the_identity(images):
    assert torch.equal(NoDefense().purify(images, seeds=SEEDS), images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BitDepth(0), "defense.bits=0"),
        (lambda: BitDepth(9), "defense.bits=9"),
        (lambda: JPEG(0), "defense.quality=0"),
        (lambda: Median(1), "defense.window=1"),
        (lambda: GaussianSmoothing(0), "defense.sigma_px=0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(NumberError, match=message):
        make()


def test_bad_shapes_are_refused(images):
    with pytest.raises(ValueError, match="is even"):
        Median(4)
    with pytest.raises(ValueError, match="does not fit"):
        Median(7).purify(images[:, :, :3], seeds=SEEDS)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        JPEG().purify(images[:, :2], seeds=SEEDS)
    with pytest.raises(ValueError, match="4:1:1"):
        JPEG(subsampling="4:1:1")
