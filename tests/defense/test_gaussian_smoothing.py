"""Gaussian smoothing against SciPy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from medrobust.defense.gaussian_smoothing import GaussianSmoothing
from medrobust.number import NumberError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 17, 23, generator=torch.Generator().manual_seed(0))


SEEDS = torch.arange(5)


@pytest.mark.parametrize(("sigma", "window"), [(1.0, 3), (0.7, 5), (2.0, 7)])
def test_gaussian_equals_scipy(images, sigma, window):
    kernel = np.exp(-0.5 * (np.arange(window) - window // 2) ** 2 / sigma**2)
    kernel /= kernel.sum()
    expected = images.numpy()
    for axis in (2, 3):
        expected = ndimage.convolve1d(expected, kernel, axis=axis, mode="mirror")
    found = GaussianSmoothing(sigma, window).purify(images, seeds=SEEDS).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_bad_input_is_refused(images):
    with pytest.raises(NumberError, match=r"defense\.sigma_px=0"):
        GaussianSmoothing(0)
    with pytest.raises(ValueError, match="is even"):
        GaussianSmoothing(window=4)
    with pytest.raises(ValueError, match="does not fit"):
        GaussianSmoothing(window=7).purify(images[:, :, :3], seeds=SEEDS)
