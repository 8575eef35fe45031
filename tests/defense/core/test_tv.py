"""Total-variation denoising against scikit-image, SciPy and closed forms."""

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from skimage.restoration import denoise_tv_bregman

from medrobust.defense.core import tv
from medrobust.defense.core.tv import energy, rof
from medrobust.number import NumberError


def noisy(*shape: int, sigma: float = 0.16) -> torch.Tensor:
    """A bright disc on a gradient, as a lesion on skin is, under noise."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.linspace(-1, 1, shape[-2]), torch.linspace(-1, 1, shape[-1])
    radius = (rows[:, None] ** 2 + columns**2).sqrt()
    clean = 0.3 + 0.1 * rows[:, None] + 0.4 * (radius < 0.5)
    return clean + sigma * torch.randn(shape, generator=generator)


def by_skimage(f: torch.Tensor, gamma: float, iterations: int = 3000) -> torch.Tensor:
    """scikit-image's split Bregman on (M, H, W).

    Its `weight` is γ: its source solves (weight + 4 lam) u = weight f + lam (...) and shrinks by
    1 / lam, which is Eq. 13 with γ = weight (its docstring halves that). Its frame of pixels round
    the image is fixed at noisy values; a mirrored margin keeps that frame away from the image,
    and mirroring does not move the minimum of a free boundary.
    """
    margin = 10
    padded = np.pad(f.double().numpy(), ((0, 0), (margin,) * 2, (margin,) * 2), mode="symmetric")
    solved = [
        denoise_tv_bregman(map_, weight=gamma, max_num_iter=iterations, eps=1e-9, isotropic=False)
        for map_ in padded
    ]
    return torch.from_numpy(np.stack(solved))[:, margin:-margin, margin:-margin]


def differences(height: int, width: int) -> np.ndarray:
    """The matrix of all differences inside a map, (differences, pixels)."""
    index = np.arange(height * width).reshape(height, width)
    pairs = [*zip(index[:, :-1].flat, index[:, 1:].flat, strict=True)]
    pairs += zip(index[:-1].flat, index[1:].flat, strict=True)
    matrix = np.zeros((len(pairs), height * width))
    for row, (low, high) in enumerate(pairs):
        matrix[row, low], matrix[row, high] = -1, 1
    return matrix


@pytest.mark.parametrize("gamma", [4.0, 10.0])
def test_same_energy_as_skimage(gamma):
    f = noisy(3, 48, 64)
    expected = energy(by_skimage(f, gamma), f.double(), gamma)
    found = energy(rof(f, gamma, round(200 / gamma)), f, gamma).double()
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0)


def test_skimage_as_called_by_most_has_no_lower_energy():
    # At its own tolerance and with its frame it stops above the minimum.
    f = noisy(1, 48, 64)[0]
    usual = denoise_tv_bregman(f.double().numpy(), weight=5.0, isotropic=False)
    assert energy(rof(f, 5.0, 40), f, 5.0) < energy(torch.from_numpy(usual), f, 5.0)


def test_minimum_equals_a_bounded_least_squares_solver():
    # The dual of Eq. 13: u = f - Dᵀp / γ with |p| <= 1 nearest to zero.
    f, gamma = noisy(6, 7).double(), 3.0
    matrix = differences(6, 7)
    p = lsq_linear(matrix.T / gamma, f.flatten().numpy(), bounds=(-1, 1), tol=1e-14).x
    expected = f.flatten().numpy() - matrix.T @ p / gamma
    found = rof(f, gamma, 3000).flatten().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("upright", [False, True])
def test_a_step_shrinks_as_known(upright):
    # Two plateaus of 3 and 5 pixels move towards each other by 1 / (γ · their length).
    f = torch.tensor([[0.0] * 3 + [1.0] * 5], dtype=torch.float64)
    expected = torch.tensor([[1 / 12] * 3 + [1 - 1 / 20] * 5], dtype=torch.float64)
    if upright:
        f, expected = f.T, expected.T
    torch.testing.assert_close(rof(f, 4.0, 2000), expected, rtol=0, atol=1e-4)


def test_small_weight_flattens_and_the_mean_stays():
    f = noisy(2, 9, 8).double()
    torch.testing.assert_close(
        rof(f, 0.01, 4000), f.mean((1, 2), keepdim=True).expand_as(f), rtol=0, atol=1e-3
    )
    torch.testing.assert_close(rof(f, 5.0, 7).mean((1, 2)), f.mean((1, 2)))


def test_gradient_is_exact():
    x = noisy(2, 4, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: rof(x, 3.0, 20), x)


def test_gradient_in_chunks(monkeypatch):
    f = noisy(5, 2, 12, 9)
    results = []
    for pixels in (1, 2**18):
        monkeypatch.setitem(tv._CACHE, "cpu", pixels)
        x = f.clone().requires_grad_()
        rof(x, 5.0, 20).square().sum().backward()
        results.append(x.grad)
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_map_is_alone_in_its_batch():
    f = noisy(7, 3, 13, 11)
    whole = rof(f, 5.0, 20)
    assert torch.equal(whole[4:5], rof(f[4:5], 5.0, 20))
    assert torch.equal(whole[[5, 2]], rof(f[[5, 2]], 5.0, 20))
    assert torch.equal(whole.mT, rof(f.mT.contiguous().mT, 5.0, 20).mT)  # any memory layout
    f[3] = torch.nan
    assert torch.equal(whole[[2, 4]], rof(f, 5.0, 20)[[2, 4]])


def test_bad_input_is_refused():
    f = noisy(4, 4)
    with pytest.raises(NumberError, match="gamma=0"):
        rof(f, 0.0, 10)
    with pytest.raises(NumberError, match="iterations=0"):
        rof(f, 1.0, 0)
    with pytest.raises(TypeError, match=r"float16; expected float32 or float64"):
        rof(f.half(), 1.0, 10)
