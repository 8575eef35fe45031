"""Total-variation minimisation against scikit-image and SciPy, and what is dropped."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from skimage.restoration import denoise_tv_chambolle

from medrobust.defense.tv_minimization import TVMinimization, inpaint
from medrobust.number import NumberError
from tests.support.helpers import small_cnn

SEEDS = torch.arange(4) + 9


def disc(*shape: int) -> torch.Tensor:
    """A bright disc with faint noise."""
    rows, columns = torch.linspace(-1, 1, shape[-2]), torch.linspace(-1, 1, shape[-1])
    inside = (rows[:, None] ** 2 + columns**2).sqrt() < 0.6
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return (0.3 + 0.4 * inside + 0.03 * noise).clamp(0, 1)


def energy(u: np.ndarray, f: np.ndarray, kept: np.ndarray, gamma: float, soft: float = 0) -> float:
    """What is minimised, of one map (H, W); lengths rounded off by `soft`."""
    across, down = np.zeros_like(u), np.zeros_like(u)
    across[:, :-1], down[:-1] = np.diff(u, axis=1), np.diff(u, axis=0)
    length = np.sqrt(across**2 + down**2 + soft**2)
    return float(length.sum() + gamma / 2 * (kept * (u - f) ** 2).sum())


def test_all_kept_equals_chambolle():
    f = disc(18, 24).double()
    expected = denoise_tv_chambolle(f.numpy(), weight=0.1, eps=1e-9, max_num_iter=2000)
    everything = torch.ones_like(f)
    found = inpaint(f, everything, 10.0, 500).numpy()
    np.testing.assert_allclose(found, expected, atol=4e-3)


def test_half_kept_equals_a_general_minimiser():
    f = disc(7, 6).double()
    kept = (torch.rand(7, 6, generator=torch.Generator().manual_seed(1)) > 0.5).double()
    data, mask = f.numpy(), kept.numpy()
    general = minimize(
        lambda u: energy(u.reshape(7, 6), data, mask, 33.0, soft=1e-4),
        np.full(42, 0.5),
        method="L-BFGS-B",
        options={"maxfun": 10**6, "maxiter": 2000},
    )
    least = energy(general.x.reshape(7, 6), data, mask, 33.0)
    found = inpaint(f, kept, 33.0, 60).numpy()
    assert energy(found, data, mask, 33.0) < 1.01 * least


def test_default_iterations_reach_the_least_energy():
    f = disc(48, 48).double()
    kept = (torch.rand(48, 48, generator=torch.Generator().manual_seed(1)) > 0.5).double()
    few, many = (
        energy(inpaint(f, kept, 1 / 0.03, count).numpy(), f.numpy(), kept.numpy(), 1 / 0.03)
        for count in (TVMinimization().iterations, 1500)
    )
    assert few < 1.01 * many


def test_dropped_values_do_not_matter():
    x, defense = disc(4, 3, 12, 15), TVMinimization(0.4)
    out = defense.purify(x, seeds=SEEDS)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    moved = []
    for value in (0.0, 1.0):
        changed = x.clone()
        changed[:, :, 5, 5] = value
        moved.append((defense.purify(changed, seeds=SEEDS) != out).flatten(2).any(2))
    # A kept value moves the result, a dropped one by no bit; 40 % of 12 are dropped.
    assert torch.equal(*moved)
    assert 1 <= int((~moved[0]).sum()) <= 10


def test_an_image_is_the_same_in_any_batch():
    x, defense = disc(4, 1, 13, 10), TVMinimization()
    whole = defense.purify(x, seeds=SEEDS)
    part = defense.purify(x[[3, 1]], seeds=SEEDS[[3, 1]])
    assert torch.equal(whole[[3, 1]], part)
    assert not torch.equal(whole, defense.purify(x, seeds=SEEDS + 1))


def test_gradient_is_exact():
    x = disc(1, 1, 4, 5).double().requires_grad_()
    defense = TVMinimization(iterations=9)
    assert torch.autograd.gradcheck(lambda x: defense.purify(x, seeds=SEEDS[:1]), x)


def test_attackers_see_the_deployed_answer():
    x, victim, defense = disc(4, 3, 16, 16), small_cnn(), TVMinimization()
    leaf = x.clone().requires_grad_()
    seen = defense.proxy(leaf, victim, seeds=SEEDS).logits
    torch.testing.assert_close(seen, defense(x, victim, seeds=SEEDS).logits)
    (grad,) = torch.autograd.grad(seen[:, 0].sum(), leaf)
    assert grad.isfinite().all()
    assert grad.flatten(1).any(1).all()


def test_bad_input_is_refused():
    with pytest.raises(NumberError, match=r"defense\.drop=1"):
        TVMinimization(1)
    with pytest.raises(NumberError, match=r"defense\.weight=0"):
        TVMinimization(weight=0)
    with pytest.raises(NumberError, match=r"defense\.iterations=0"):
        TVMinimization(iterations=0)
