"""Rewritten convolutions: the same numbers as torch's own, forward and backward."""

import copy

import pytest
import torch
from torch import Tensor, nn

from medrobust.model.core.conv import SmallMapConv, SteadyLinear, StridedStem, rewritten


def make(channels: int, out: int, kernel: object, **rest: object) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(channels, out, kernel, **rest).requires_grad_(False).double()  # type: ignore[arg-type]


def both_ways(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    out = module(leaf)
    weights = torch.arange(out.numel(), dtype=out.dtype).view_as(out).sin()
    return out.detach(), torch.autograd.grad(out, leaf, weights)[0]


def same(plain: nn.Conv2d, kind: type[nn.Module], *shapes: tuple[int, int]) -> nn.Module:
    fast = rewritten(plain)
    assert type(fast) is kind
    for height, width in shapes:
        x = torch.rand(17, plain.in_channels, height, width, dtype=torch.float64)
        for found, wanted in zip(both_ways(fast, x), both_ways(plain, x), strict=True):
            assert found.shape == wanted.shape
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    return fast


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_small_maps(stride: int, bias: bool) -> None:
    plain = make(6, 5, 3, stride=stride, padding=1, bias=bias)
    fast = same(plain, SmallMapConv, (1, 1), (2, 2), (1, 2), (2, 4), (3, 3), (7, 5))
    assert isinstance(fast, SmallMapConv)
    assert set(fast._matrices) == {(1, 1), (2, 2), (1, 2), (2, 4)}  # fewer pixels than taps


def test_kernels_that_are_not_square() -> None:
    same(make(5, 3, (1, 5), padding=(0, 2)), SmallMapConv, (2, 2), (4, 6))
    same(make(5, 3, (5, 3), padding=(0, 1), stride=(1, 2)), SmallMapConv, (5, 2), (6, 9))


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_stems(kernel: int, padding: int, channels: int) -> None:
    plain = make(channels, 4, kernel, stride=2, padding=padding)
    same(plain, StridedStem, (12, 12), (13, 12), (12, 15), (11, 9))


def test_what_has_no_faster_form_stays() -> None:
    for conv in (
        make(8, 8, 3, groups=8),
        make(8, 8, 3, dilation=2),
        make(8, 8, 1),
        make(8, 8, 3, padding="same"),
        make(8, 8, 3, padding=1, padding_mode="reflect"),
    ):
        assert rewritten(conv) is conv


def test_a_change_of_dtype_makes_new_matrices() -> None:
    fast = rewritten(make(4, 4, 3, padding=1))
    x = torch.rand(20, 4, 1, 1)
    fast(x.double())
    reduced = copy.deepcopy(fast).to(torch.bfloat16)(x.bfloat16())
    torch.testing.assert_close(reduced.double(), fast(x.double()), rtol=0.02, atol=0.02)


def test_first_used_while_predicting_then_for_gradients() -> None:
    fast = rewritten(make(4, 4, 3, padding=1))
    x = torch.rand(20, 4, 1, 1, dtype=torch.float64)
    with torch.inference_mode():
        fast(x)
    both_ways(fast, x)


@pytest.mark.parametrize("features", [64, 1000])
def test_a_linear_layer_rounds_the_same_in_any_batch(features: int) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(features, 7)
    steady = SteadyLinear(linear)
    x = torch.randn(40, features)
    torch.testing.assert_close(steady(x), linear(x))
    whole = steady(x)
    for size in (1, 2, 5, 8, 17):
        assert torch.equal(torch.cat([steady(part) for part in x.split(size)]), whole), size
