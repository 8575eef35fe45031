"""Gradient estimators: closed forms, SciPy's differences, and a slow loop in NumPy."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import approx_fprime
from scipy.special import gammaln
from torch import Tensor

from medrobust.defense.denoiser.estimator import CGE, RGE, Estimator, expected_cosine
from medrobust.number import NumberError
from medrobust.rng import fold_in, normal, sample_seeds

SHAPE = (2, 3, 3)
SIZE = math.prod(SHAPE)
COUNT = 5
POINTS = torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(0)).double()
SEEDS = sample_seeds(0, [str(i) for i in range(COUNT)])
SLOPES = torch.randn(COUNT, SIZE, generator=torch.Generator().manual_seed(1)).double()


def linear(points: Tensor, row: Tensor) -> Tensor:
    """Another slope for each sample."""
    return (points.flatten(1) * SLOPES[row]).sum(1) + row


def smooth(points: Tensor, row: Tensor) -> Tensor:
    flat = points.flatten(1)
    return (flat * SLOPES[row]).sin().sum(1) + flat.square().sum(1) * row / 3


def gradient(points: Tensor) -> Tensor:
    leaf = points.clone().requires_grad_()
    (found,) = torch.autograd.grad(smooth(leaf, torch.arange(len(leaf))).sum(), leaf)
    return found


@pytest.mark.parametrize("mu", [1e-3, 0.5])
def test_coordinates_give_a_linear_functions_gradient_whatever_mu(mu: float) -> None:
    found = CGE(mu=mu)(linear, POINTS, seeds=SEEDS)
    torch.testing.assert_close(found.grad, SLOPES.view_as(POINTS), rtol=1e-9, atol=1e-9)
    assert torch.equal(found.value, linear(POINTS, torch.arange(COUNT)))


def test_coordinates_are_central_differences() -> None:
    """The mean of SciPy's forward and backward differences."""
    mu = 0.01
    found = CGE(mu=mu)(smooth, POINTS, seeds=SEEDS).grad
    for i in range(COUNT):
        one = lambda z, i=i: smooth(torch.from_numpy(z)[None], torch.tensor([i])).item()  # noqa: E731
        at = POINTS[i].flatten().numpy()
        both = (approx_fprime(at, one, mu) + approx_fprime(at, one, -mu)) / 2
        np.testing.assert_allclose(found[i].flatten().numpy(), both, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found, gradient(POINTS), rtol=1e-2, atol=1e-3)


def test_few_coordinates_are_those_of_all_drawn_without_repetition() -> None:
    q, every = 5, CGE()(smooth, POINTS, seeds=SEEDS).grad
    total, draws = torch.zeros_like(POINTS), 150
    for draw in range(draws):
        found = CGE(q)(smooth, POINTS, seeds=fold_in(SEEDS, draw)).grad
        kept = found != 0
        assert (kept.flatten(1).sum(1) == q).all()
        torch.testing.assert_close(found[kept], every[kept] * SIZE / q, rtol=1e-6, atol=1e-9)
        total += kept
    share = q / SIZE
    assert (total / draws - share).abs().max() < 5 * math.sqrt(share * (1 - share) / draws)


def test_random_directions_are_a_loops() -> None:
    q, mu = 7, 0.02
    found = RGE(q, mu)(smooth, POINTS, seeds=SEEDS).grad
    for i in range(COUNT):
        one, total = POINTS[i].flatten().numpy(), np.zeros(SIZE)
        value = lambda z, i=i: smooth(torch.from_numpy(z)[None], torch.tensor([i])).item()  # noqa: E731
        for k in range(q):
            way = normal(fold_in(SEEDS[i : i + 1], k), (SIZE,))[0].double().numpy()
            way = way / np.linalg.norm(way)
            total += SIZE / mu * (value(one + mu * way) - value(one)) * way / q
        np.testing.assert_allclose(found[i].flatten().numpy(), total, rtol=1e-4, atol=1e-5)


def test_random_directions_are_unbiased_on_a_quadratic() -> None:
    """The ball's mean of a quadratic differs from it by a constant: the gradient is its own."""
    axes = torch.linspace(-1, 2, SIZE, dtype=torch.float64)

    def bowl(points: Tensor, row: Tensor) -> Tensor:
        return (axes * (points.flatten(1) - 0.3).square()).sum(1)

    point, q, mu = POINTS[:1], 3_000, 0.1
    found = RGE(q, mu)(bowl, point, seeds=SEEDS[:1]).grad.flatten()
    wanted = 2 * axes * (point.flatten() - 0.3)
    spread = wanted.norm() * math.sqrt(SIZE / q)  # E |estimate - mean|^2 is about d |g|^2 / q
    assert (found - wanted).norm() < 3 * spread
    assert (found - wanted).norm() < 0.3 * wanted.norm()


@pytest.mark.parametrize("size", [16, 128])
def test_cosine_grows_with_questions_as_it_should(size: int) -> None:
    """For q = 1 it is E |u_1|, in closed form; further on about sqrt(q / (q + d - 1))."""
    count = 200
    slope = torch.randn(count, size, generator=torch.Generator().manual_seed(2)).double()
    seeds, z = torch.arange(count), torch.zeros(count, size).double()

    def ask(points: Tensor, row: Tensor) -> Tensor:
        return (points * slope[row]).sum(1)

    means = []
    for q in (1, 8, 64, 256):
        found = RGE(q)(ask, z, seeds=fold_in(seeds, q)).grad
        means.append(torch.cosine_similarity(found, slope, dim=1).mean().item())
        if q > 1:
            assert means[-1] == pytest.approx(expected_cosine(q, size), rel=0.05)
    assert means == sorted(means)
    closed = math.exp(gammaln(size / 2) - gammaln((size + 1) / 2)) / math.sqrt(math.pi)
    assert means[0] == pytest.approx(closed, rel=0.15)


@pytest.mark.parametrize("estimator", [RGE(9), CGE(), CGE(4)])
def test_an_estimate_is_its_samples_own(estimator: Estimator) -> None:
    whole = estimator(smooth, POINTS, seeds=SEEDS)
    kind, settings = type(estimator), estimator._captured  # type: ignore[attr-defined]
    for chunk in (1, 3, COUNT, 7):
        found = kind(**settings | {"chunk": chunk})(smooth, POINTS, seeds=SEEDS)
        assert torch.equal(found.grad, whole.grad)
        assert torch.equal(found.value, whole.value)
    for rows in ([3], [4, 0, 0]):
        part = lambda points, row, rows=rows: smooth(points, torch.tensor(rows)[row])  # noqa: E731
        found = estimator(part, POINTS[rows], seeds=SEEDS[rows])
        assert torch.equal(found.grad, whole.grad[rows])
    others = estimator(smooth, POINTS, seeds=SEEDS + 1).grad
    assert torch.equal(others, whole.grad) is (estimator.settings == CGE().settings)


@pytest.mark.parametrize(("estimator", "each"), [(RGE(9), 10), (CGE(), 2 * SIZE + 1), (CGE(4), 9)])
def test_questions_are_as_many_as_stated_and_come_in_few_calls(
    estimator: Estimator, each: int
) -> None:
    calls: list[int] = []

    def ask(points: Tensor, row: Tensor) -> Tensor:
        assert not points.requires_grad
        assert points.shape[1:] == SHAPE
        calls.append(len(points))
        return linear(points, row)

    found = estimator(ask, POINTS.clone().requires_grad_(), seeds=SEEDS)
    assert not found.grad.requires_grad
    assert sum(calls) == each * COUNT
    assert estimator.count(SIZE) == each - 1
    assert len(calls) == 2  # the points, and all that is asked around them
    calls.clear()
    type(estimator)(**estimator._captured | {"chunk": 6})(ask, POINTS, seeds=SEEDS)  # type: ignore[attr-defined]
    assert max(calls) <= 6


def test_bad_settings_are_refused() -> None:
    for make, message in (
        (lambda: RGE(0), r"estimator\.q=0"),
        (lambda: CGE(0), r"estimator\.q=0"),
        (lambda: RGE(20, 0), r"estimator\.mu=0"),
        (lambda: CGE(mu=-0.1), r"estimator\.mu=-0\.1"),
        (lambda: CGE(mu=2), r"estimator\.mu=2"),
        (lambda: RGE(1, chunk=0), r"estimator\.chunk=0"),
    ):
        with pytest.raises(NumberError, match=message):
            make()
    with pytest.raises(ValueError, match=rf"estimator\.q=19 .* has {SIZE}.*null"):
        CGE(19)(linear, POINTS, seeds=SEEDS)
