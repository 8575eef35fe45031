"""The differentiable JPEG against the real codec, and against finite differences."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.autograd import gradcheck

from medrobust.defense.core.rounding import slanted_round, smooth_round
from medrobust.defense.core.smooth_jpeg import smooth_jpeg, tables
from medrobust.defense.jpeg import JPEG, StraightThroughJPEG

SAMPLINGS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}


def pictures(*shape: int, seed: int = 0) -> Tensor:
    """Smooth structures with some noise, as photographs have."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(shape[0], shape[1], 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, shape[2:], mode="bicubic")
    noisy = 0.15 + 0.7 * smooth + 0.01 * torch.randn(shape, generator=generator)
    return (noisy.clamp(0, 1) * 255).round() / 255


@pytest.mark.parametrize("subsampling", SAMPLINGS)
@pytest.mark.parametrize("quality", [5, 30, 50, 75, 90, 95])
@pytest.mark.parametrize("shape", [(4, 3, 48, 48), (4, 3, 19, 37), (3, 1, 28, 28), (16, 3, 5, 9)])
def test_it_is_near_the_real_codec(shape: tuple[int, ...], quality: int, subsampling: str) -> None:
    x = pictures(*shape)
    real = JPEG(quality, subsampling).purify(x, seeds=torch.arange(len(x)))
    smooth = smooth_jpeg(x, quality, SAMPLINGS[subsampling])
    assert smooth.min() >= 0
    assert smooth.max() <= 1
    change = (real - x).abs().mean()
    assert (smooth - real).abs().mean() < 1 / 255 + 0.4 * change
    rounded = smooth_jpeg(x, quality, SAMPLINGS[subsampling], torch.round)
    assert (rounded - real).abs().mean() < 1 / 255 + 0.2 * change  # it rounds its planes, too


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 95, 100])
def test_the_tables_are_those_of_the_codec(quality: int) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, "JPEG", quality=quality)
    with Image.open(file) as picture:
        found = picture.quantization  # type: ignore[attr-defined]
    assert tables(quality) == (tuple(found[0]), tuple(found[1]))


@pytest.mark.by_default(
    "slanted_round-sampling0-shape1",
    "slanted_round-sampling1-shape1",
    "slanted_round-sampling2-shape1",
    "smooth_round-sampling0-shape1",
    "smooth_round-sampling1-shape1",
    "smooth_round-sampling2-shape0",
    "smooth_round-sampling2-shape1",
)
@pytest.mark.parametrize("shape", [(1, 3, 9, 11), (1, 1, 8, 8)])
@pytest.mark.parametrize("sampling", SAMPLINGS.values())
@pytest.mark.parametrize("rounding", [smooth_round, slanted_round])
def test_its_derivative_is_that_of_finite_differences(
    shape: tuple[int, ...], sampling: tuple[int, int], rounding: Callable[[Tensor], Tensor]
) -> None:
    # Inside (0, 1), so that nothing is clipped; the rounding jumps only halfway between numbers.
    x = 0.3 + 0.4 * torch.rand(
        shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    assert gradcheck(
        lambda z: smooth_jpeg(z, 60, sampling, rounding), x.requires_grad_(), eps=1e-7, atol=1e-4
    )


def test_the_rounding() -> None:
    value = torch.tensor([-1.4, 0.0, 0.3, 2.5, 7.9], dtype=torch.float64, requires_grad=True)
    rounded = smooth_round(value)
    near = value.detach().round()
    assert torch.allclose(rounded, near + (value.detach() - near) ** 3)
    (slope,) = torch.autograd.grad(rounded.sum(), value)
    assert torch.allclose(slope, 3 * (value.detach() - near) ** 2)
    (slanted,) = torch.autograd.grad(slanted_round(value).sum(), value)
    assert torch.allclose(slanted, 0.1 + 2.7 * (value.detach() - near) ** 2)


def test_an_image_does_not_depend_on_its_batch() -> None:
    x = pictures(5, 3, 20, 20)
    alone = torch.cat([smooth_jpeg(one[None], 70, (2, 2)) for one in x])
    torch.testing.assert_close(smooth_jpeg(x, 70, (2, 2)), alone, rtol=0, atol=1e-6)


def test_the_defense_computes_the_codec_and_differentiates_the_smooth_one() -> None:
    x, seeds = pictures(3, 3, 24, 24).requires_grad_(), torch.arange(3)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    smooth = torch.autograd.grad((smooth_jpeg(x, 75, (2, 2)) * weight).sum(), x)[0]
    for defense, expected in ((JPEG(75), smooth), (StraightThroughJPEG(75), weight)):
        shown = defense.differentiable(x, seeds=seeds)
        assert torch.equal(shown, defense.purify(x, seeds=seeds))
        (found,) = torch.autograd.grad((shown * weight).sum(), x)
        torch.testing.assert_close(found, expected)
