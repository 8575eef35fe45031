"""Wavelet denoising against scikit-image, which calls PyWavelets."""

import numpy as np
import pytest
import pywt
import torch
from skimage.restoration import denoise_wavelet
from torch.nn import functional as F

from medrobust.defense.wavelet import Wavelet, haar, inverse_haar
from medrobust.number import NumberError


def picture(channels: int, height: int, width: int) -> torch.Tensor:
    """Smooth images with noise, float64 (3, channels, height, width)."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, channels, 4, 4, generator=random, dtype=torch.float64)
    smooth = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0.2, 0.8)
    return smooth + 0.05 * torch.randn(smooth.shape, generator=random, dtype=torch.float64)


SEEDS = torch.arange(3)


@pytest.mark.parametrize(
    ("channels", "height", "width"), [(3, 28, 28), (1, 28, 28), (3, 37, 51), (1, 65, 40)]
)
@pytest.mark.parametrize("sigma", [0.02, 0.04])
def test_equals_scikit_image(channels, height, width, sigma):
    images = picture(channels, height, width)
    found = Wavelet(sigma).purify(images, seeds=SEEDS)
    for image, ours in zip(images.numpy(), found.numpy(), strict=True):
        colour = {"convert2ycbcr": True, "channel_axis": 0} if channels == 3 else {}
        theirs = denoise_wavelet(
            image if channels == 3 else image[0], sigma=sigma, method="BayesShrink", **colour
        )
        np.testing.assert_allclose(ours, theirs.clip(0, 1).reshape(image.shape), atol=1e-6)
    assert (found - images).abs().max() > 0.01


def test_levels_equal_scikit_image():
    images = picture(1, 40, 64)
    for levels in (1, 2, 4):
        found = Wavelet(levels=levels).purify(images, seeds=SEEDS)[0, 0].numpy()
        theirs = denoise_wavelet(images[0, 0].numpy(), sigma=0.04, wavelet_levels=levels)
        np.testing.assert_allclose(found, theirs.clip(0, 1), atol=1e-6)


def test_transform_equals_pywavelets_and_is_undone():
    images = picture(3, 12, 18)
    ours = haar(images)
    smooth, bands = pywt.dwt2(images.numpy(), "haar")
    np.testing.assert_allclose(ours[:, :, 0], smooth, atol=1e-12)
    for band in range(3):  # PyWavelets calls rows' differences horizontal
        theirs = bands[(1, 0, 2)[band]]
        np.testing.assert_allclose(ours[:, :, 1 + band].abs(), np.abs(theirs), atol=1e-12)
    torch.testing.assert_close(inverse_haar(ours), images)


def test_noise_is_removed_and_what_is_flat_stays():
    random = torch.Generator().manual_seed(1)
    flat = torch.full((3, 3, 32, 32), 0.5)
    torch.testing.assert_close(Wavelet().purify(flat, seeds=SEEDS), flat)
    noisy = flat + 0.04 * torch.randn(flat.shape, generator=random)
    found = Wavelet().purify(noisy, seeds=SEEDS)
    assert (found - flat).square().mean() < 0.5 * (noisy - flat).square().mean()


def test_gradient_is_exact():
    images = picture(3, 7, 6)[:2].clamp(0.1, 0.9).requires_grad_()
    purify = lambda x: Wavelet(0.02).purify(x, seeds=SEEDS[:2])  # noqa: E731
    assert torch.autograd.gradcheck(purify, images)


def test_an_image_gets_the_same_answer_in_any_batch():
    images = picture(3, 29, 33).float()
    whole = Wavelet().purify(images, seeds=SEEDS)
    alone = torch.cat([Wavelet().purify(image[None], seeds=SEEDS[:1]) for image in images])
    assert torch.equal(whole, alone)


def test_bad_input_is_refused():
    with pytest.raises(NumberError, match=r"defense\.sigma=0"):
        Wavelet(0)
    with pytest.raises(NumberError, match=r"defense\.levels=0"):
        Wavelet(levels=0)
    with pytest.raises(ValueError, match="at most 3"):
        Wavelet(levels=4).purify(torch.rand(1, 3, 9, 15), seeds=SEEDS[:1])
    with pytest.raises(ValueError, match="1 or 3 channels"):
        Wavelet().purify(torch.rand(1, 2, 9, 15), seeds=SEEDS[:1])
