"""Projections onto a hyperplane inside the box, against SciPy and the authors' own.

pyautoattack's functions sort; they take <w, z> = b as (w, b) and return z - x, as ours do.
"""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor

from medrobust.attack.core.hyperplane import displacement

NORMS = ("linf", "l2")
Problem = tuple[Tensor, Tensor, Tensor]


def problem(count: int, size: int, dtype: torch.dtype = torch.float64) -> Problem:
    """Points, normals and excesses; some points at corners, some weights zero, some too far."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, size, generator=generator, dtype=dtype)
    x[: count // 3] = x[: count // 3].round()
    w = torch.randn(count, size, generator=generator, dtype=dtype)
    w[::4, : size // 4] = 0
    other = torch.rand(count, size, generator=generator, dtype=dtype)
    excess = (w * (x - other)).sum(1)
    excess[::5] *= 50  # beyond the box
    return x, w, excess


def solved(x: np.ndarray, w: np.ndarray, excess: float, norm: str) -> float | None:
    """The shortest distance by SciPy; None: the hyperplane misses the box."""
    size = len(x)
    if norm == "linf":  # variables: displacement and its largest size
        bound = np.block(
            [[np.eye(size), -np.ones((size, 1))], [-np.eye(size), -np.ones((size, 1))]]
        )
        result = linprog(
            np.eye(size + 1)[size],
            A_ub=bound,
            b_ub=np.zeros(2 * size),
            A_eq=[[*w, 0]],
            b_eq=[-excess],
            bounds=[*zip(-x, 1 - x, strict=True), (0, None)],
        )
        return float(result.fun) if result.success else None
    if abs(excess) > np.maximum(np.sign(excess) * w * x, np.sign(excess) * w * (x - 1)).sum():
        return None
    result = minimize(
        lambda d: d @ d,
        np.zeros(size),
        jac=lambda d: 2 * d,
        constraints={"type": "eq", "fun": lambda d: w @ d + excess, "jac": lambda d: w},
        bounds=list(zip(-x, 1 - x, strict=True)),
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 300},
    )
    return float(result.fun) ** 0.5 if result.success else None


@pytest.mark.parametrize("norm", NORMS)
def test_shortest_by_scipy(norm: str) -> None:
    x, w, excess = problem(20, 12)
    way = displacement(x, w, excess, norm)
    length = torch.linalg.vector_norm(way, {"linf": torch.inf, "l2": 2.0}[norm], dim=1)
    left = (w * way).sum(1) + excess
    wanted = [solved(x[i].numpy(), w[i].numpy(), float(excess[i]), norm) for i in range(len(x))]
    feasible = torch.tensor([value is not None for value in wanted])
    assert 10 < feasible.sum() < 20
    assert left[feasible].abs().max() < 1e-12
    assert left[~feasible].abs().min() > 1e-3
    expected = torch.tensor([value for value in wanted if value is not None])
    torch.testing.assert_close(length[feasible].float(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 5e-6), (torch.float64, 1e-12)])
def test_equals_the_authors(norm: str, dtype: torch.dtype, atol: float) -> None:
    peer = pytest.importorskip("pyautoattack.fab_projections")
    x, w, excess = problem(120, 75, dtype)
    theirs = {"linf": peer.projection_linf, "l2": peer.projection_l2}[norm]
    other = theirs(x.clone(), w.clone(), (w * x).sum(1) - excess)
    torch.testing.assert_close(displacement(x, w, excess, norm), other, atol=atol, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_stays_in_the_box_and_reaches_the_corner(norm: str) -> None:
    x, w, excess = problem(60, 30, torch.float32)
    found = x + displacement(x, w, excess, norm)
    assert found.amin() >= 0
    assert found.amax() <= 1 + 1e-7
    corner = torch.where(w * excess[:, None] > 0, 0.0, 1.0)
    far = displacement(x, w, 1e6 * excess, norm)
    torch.testing.assert_close((x + far)[w != 0], corner[w != 0])
    assert (far[w == 0] == 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_batch_changes_no_bit(norm: str) -> None:
    x, w, excess = problem(40, 50, torch.float32)
    whole = displacement(x, w, excess, norm)
    alone = [
        displacement(x[i : i + 1], w[i : i + 1], excess[i : i + 1], norm) for i in range(len(x))
    ]
    assert torch.equal(whole, torch.cat(alone))


@pytest.mark.parametrize("norm", NORMS)
def test_length_of_the_normal_does_not_matter(norm: str) -> None:
    """Gradients of a saturated network are tiny, their squares below float32."""
    x, w, excess = problem(40, 50, torch.float32)
    plain = displacement(x, w, excess, norm)
    for scale in (1e-30, 1e30):
        scaled = displacement(x, w * scale, excess * scale, norm)
        torch.testing.assert_close(scaled, plain, atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_to_do(norm: str) -> None:
    x, w, excess = problem(10, 8, torch.float32)
    assert not displacement(x, w, 0 * excess, norm).any()
    assert not displacement(x, 0 * w, excess, norm).any()


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_not_finite_stays_so(norm: str) -> None:
    x, w, excess = problem(3, 8, torch.float32)
    w[0, 1], excess[1] = torch.inf, torch.nan
    found = displacement(x, w, excess, norm)
    assert found.isnan().any(1).tolist() == [True, True, False]


@pytest.mark.parametrize("norm", NORMS)
def test_weights_of_all_sizes(norm: str) -> None:
    """Each vessel fills at another order of magnitude: the most turns that the solver can need."""
    size = 30
    w = 10.0 ** -torch.arange(size, dtype=torch.float64)[None]
    x = torch.full((1, size), 0.5, dtype=torch.float64)
    for share in (0.1, 0.9, 0.999, 1 - 1e-9):
        excess = share * (w * x).sum(1)
        way = displacement(x, w, excess, norm)
        assert ((w * way).sum(1) + excess).abs().item() < 1e-14


def test_unknown_norm() -> None:
    with pytest.raises(ValueError, match="norm='l1', expected linf or l2"):
        displacement(*problem(1, 4), "l1")
