from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine

from medrobust.metric.perturbation import Course, measure_perturbation, variance


def test_variance_against_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(5, 3, 4, 6, generator=generator)
    adversarial = clean + 0.01 * torch.randn(clean.shape, generator=generator)
    scaled = (adversarial.numpy().astype(float) - clean.numpy()) / 0.03
    wanted = np.var(scaled.reshape(5, -1), axis=1)
    np.testing.assert_allclose(variance(clean, adversarial, 0.03).numpy(), wanted, rtol=1e-12)


def test_variance_of_signs_is_one_and_of_a_shift_zero() -> None:
    clean = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    moved = torch.stack([clean[0] + 0.1 * signs, clean[1] + 0.1])
    torch.testing.assert_close(
        variance(clean, moved, 0.1), torch.tensor([1.0, 0.0], dtype=torch.float64)
    )


def followed(points: list[torch.Tensor]) -> Course:
    """All images take every step."""
    course = Course(len(points[0]))
    for step, (before, after) in enumerate(pairwise(points)):
        course(torch.arange(len(before)), step, before, after)
    return course


def test_cosines_against_scipy() -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(8, 40, 1, 2, 3, generator=generator).cumsum(0).double()
    steps = points.diff(dim=0).flatten(2).numpy()
    wanted = [sum(cosine(steps[t, n], steps[t + 1, n]) < 1 for t in range(6)) for n in range(40)]
    course = followed(list(points))
    assert course.alike.tolist() == wanted
    assert course.pairs.tolist() == [6] * 40
    assert 0 < sum(wanted) < 240
    values, intervals = measure_perturbation(points[0], points[-1], None, course.counts, seed=0)
    assert values == {"perturbation_cosine": pytest.approx(sum(wanted) / 240)}
    low, high = intervals["perturbation_cosine"]
    assert low <= sum(wanted) / 240 <= high


def image(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def test_a_step_of_length_zero_has_no_angle() -> None:
    # The first goes right, right, stays, left, left; the second never moves.
    course = followed([image(x, 0.0) for x in (0.0, 1.0, 2.0, 2.0, 1.0, 0.0)])
    assert course.counts.tolist() == [[2, 2], [0, 0]]
    back = followed([image(x) for x in (0.0, 1.0, 0.0, 1.0, 2.0)])
    assert back.counts.tolist() == [[1, 3]]
    never = measure_perturbation(image(0.0), image(0.0), None, course.counts[1:], seed=0)
    assert never == ({}, {})


def test_images_that_leave_and_restarts_that_begin_anew() -> None:
    course, everyone, second = Course(2), torch.arange(2), torch.tensor([1])
    course(everyone, 0, image(0.0, 0.0), image(1.0, 1.0))
    course(second, 1, image(1.0), image(2.0))  # the first has left
    course(everyone, 0, image(0.0, 0.0), image(-1.0, -1.0))  # another restart: no pair with that
    course(second, 1, image(-1.0), image(-2.0))
    assert course.counts.tolist() == [[0, 0], [2, 2]]


def test_no_budget_no_variance() -> None:
    clean = torch.rand(3, 1, 4, 4)
    moved = (clean + 0.1).clamp(max=1)
    values, _ = measure_perturbation(clean, moved, 0.1, None, seed=0)
    assert values == {"perturbation_variance": variance(clean, moved, 0.1).mean().item()}
    assert measure_perturbation(clean, moved, None, None, seed=0) == ({}, {})
