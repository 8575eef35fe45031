import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust.attack.core.ball import Ball, L2Ball, LinfBall, norm
from medrobust.attack.core.norm import distance
from medrobust.rng import sample_seeds

BALLS = [(LinfBall, "linf"), (L2Ball, "l2")]


@settings(max_examples=60, deadline=None)
@given(
    eps=st.floats(1e-4, 1.0),
    seed=st.integers(0, 2**20),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    ball=st.sampled_from(BALLS),
)
def test_projection_stays_inside_by_exact_arithmetic(
    eps: float, seed: int, dtype: torch.dtype, ball: tuple[type[Ball], str]
) -> None:
    kind, order = ball
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(6, 3, 5, 4, generator=generator).to(dtype)
    x[:, :, 0], x[:, :, 1] = 0, 1
    region = kind(x, eps)
    far = region.centre + 3 * eps * torch.randn(x.shape, generator=generator).to(region.dtype)
    found = region.shown(region.project(far))
    assert found.dtype == dtype
    assert found.amin() >= 0
    assert found.amax() <= 1
    slack = 1e-15 if order == "linf" else 1e-6 * max(1, eps)
    assert distance(x, found, order).max() <= eps + slack


@pytest.mark.parametrize(("kind", "order"), BALLS)
def test_projection_keeps_what_is_inside(kind: type[Ball], order: str) -> None:
    x = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    region = kind(x, 0.1)
    once = region.project(x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(region.project(once), once, atol=1e-7, rtol=0)
    assert torch.equal(region.project(x), x)


def test_linf_projection_is_the_nearest_point() -> None:
    x = torch.tensor([[[[0.02, 0.5, 0.98]]]])
    found = LinfBall(x, 0.1).project(torch.tensor([[[[-1.0, 0.55, 2.0]]]]))
    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.55, 1.0]]]]))


def test_l2_projection_along_the_radius() -> None:
    x = torch.full((1, 1, 1, 2), 0.5)
    found = L2Ball(x, 0.1).project(x + torch.tensor([0.3, 0.4]))
    torch.testing.assert_close(found - x, torch.tensor([[[[0.06, 0.08]]]]))


@pytest.mark.parametrize(("kind", "order"), BALLS)
def test_draws(kind: type[Ball], order: str) -> None:
    x = torch.full((4000, 1, 1, 2), 0.5)
    region = kind(x, 0.2)
    found = region.draw(sample_seeds(0, [str(i) for i in range(4000)]))
    delta = (found - x).flatten(1)
    used = distance(x, found, order) / 0.2
    assert used.max() <= 1 + 1e-6
    # uniform in two dimensions: the share within radius r is r², in both norms
    for radius in (0.3, 0.6, 0.9):
        assert (used < radius).float().mean() == pytest.approx(radius**2, abs=0.03)
    assert delta.mean(0).abs().max() < 0.01
    assert (delta[:, 0] * delta[:, 1]).mean().abs() < 1e-3


@pytest.mark.parametrize(("kind", "order"), BALLS)
def test_subset(kind: type[Ball], order: str) -> None:
    x = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    far, index = x + 0.3, torch.tensor([4, 1])
    region = kind(x, 0.1)
    assert torch.equal(region.at(index).project(far[index]), region.project(far)[index])


def test_norm_does_not_see_layout_or_batch() -> None:
    x = torch.randn(33, 3, 17, 20, generator=torch.Generator().manual_seed(3))
    whole = norm(x)
    assert torch.equal(whole, norm(x.to(memory_format=torch.channels_last)))
    assert torch.equal(whole, torch.cat([norm(part) for part in x.split(4)]))
