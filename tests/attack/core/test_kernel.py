import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage
import torch

from medrobust.attack.core.kernel import gaussian_kernel, linear_kernel, smooth, uniform_kernel


@pytest.mark.parametrize(("size", "sigma"), [(1, 0.5), (3, 0.5), (7, 1.0), (15, 7 / 3), (21, 40.0)])
def test_gaussian_is_the_normal_density(size: int, sigma: float) -> None:
    kernel = gaussian_kernel(size, sigma)
    assert kernel.shape == (size, size)
    assert kernel.dtype == torch.float64
    assert kernel.sum().item() == pytest.approx(1, abs=1e-12)
    reach = size // 2
    for row, column in [(0, 0), (reach, 0), (reach, size - 1)]:
        squared = (row - reach) ** 2 + (column - reach) ** 2
        ratio = math.exp(-squared / (2 * sigma**2))
        assert kernel[row, column].item() == pytest.approx(kernel[reach, reach].item() * ratio)


@pytest.mark.parametrize(
    ("build", "profile"), [(uniform_kernel, [1, 1, 1, 1, 1]), (linear_kernel, [1, 2, 3, 2, 1])]
)
def test_other_kernels(build: Callable[[int], torch.Tensor], profile: list[int]) -> None:
    assert build(1).tolist() == [[1.0]]
    kernel = build(5)
    assert kernel.sum().item() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(kernel, kernel.flip(0, 1))
    expected = np.outer(profile, profile) / np.sum(profile) ** 2
    np.testing.assert_allclose(kernel.numpy(), expected, atol=1e-15)


KERNELS = {
    "gaussian": gaussian_kernel(5, 1.2),
    "wider than the image": gaussian_kernel(15, 7 / 3),
    "linear": linear_kernel(7),
    "uniform": uniform_kernel(3),
    "lopsided": torch.outer(torch.tensor([1.0, 2, -3]), torch.arange(5.0)).double(),
    "of full rank": torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).double(),
    "zero": torch.zeros(3, 3),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
@pytest.mark.parametrize("shape", [(2, 1, 9, 6), (2, 3, 6, 9), (1, 4, 1, 1)])
def test_equal_to_scipy(kernel: torch.Tensor, shape: tuple[int, ...]) -> None:
    images = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = [
        scipy.ndimage.correlate(image.numpy(), kernel.numpy(), mode="constant")
        for image in images.flatten(0, 1)
    ]
    found = smooth(images, kernel).flatten(0, 1)
    np.testing.assert_allclose(found.numpy(), np.stack(expected), atol=1e-13)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8), (torch.float64, 1e-14)]
)
def test_keeps_the_dtype(dtype: torch.dtype, tolerance: float) -> None:
    images = torch.rand(2, 3, 12, 10, generator=torch.Generator().manual_seed(2)).to(dtype)
    kernel = gaussian_kernel(15, 7 / 3)
    found = smooth(images, kernel)
    assert found.dtype == dtype
    exact = smooth(images.double(), kernel)
    torch.testing.assert_close(found.double(), exact, rtol=tolerance, atol=0)


def test_batch_and_layout_change_no_bit() -> None:
    images = torch.randn(17, 3, 11, 13, generator=torch.Generator().manual_seed(3))
    kernel = gaussian_kernel(3, 1.0)
    whole = smooth(images, kernel)
    assert torch.equal(whole, torch.cat([smooth(image[None], kernel) for image in images]))
    last = images.to(memory_format=torch.channels_last)
    assert torch.equal(whole, smooth(last, kernel))


@pytest.mark.parametrize("size", [0, -3, 4])
def test_bad_size(size: int) -> None:
    with pytest.raises(ValueError, match=f"kernel size {size}; expected an odd number"):
        gaussian_kernel(size, 1.0)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_sigma(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma="):
        gaussian_kernel(3, sigma)


@pytest.mark.parametrize("shape", [(3, 4), (2, 2), (3,), (1, 3, 3)])
def test_bad_kernel(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected \\(h, w\\), both odd"):
        smooth(torch.zeros(1, 1, 5, 5), torch.ones(shape))
