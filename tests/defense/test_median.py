"""The median filter against SciPy, and its gradient."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from medrobust.defense.median import Median
from medrobust.number import NumberError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 17, 23, generator=torch.Generator().manual_seed(0))


SEEDS = torch.arange(5)


@pytest.mark.parametrize("window", [3, 5, 7])
def test_median_equals_scipy(images, window):
    expected = ndimage.median_filter(images.numpy(), size=(1, 1, window, window), mode="mirror")
    np.testing.assert_array_equal(Median(window).purify(images, seeds=SEEDS).numpy(), expected)


def test_median_gradient_is_exact(images):
    x = images[:1, :1, :6, :6].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Median(3).purify(x, seeds=SEEDS[:1]), x)


def test_same_in_any_batch_and_in_place_of_none(images):
    """Windows run over the flat memory of the whole batch: none may see its neighbour's pixels."""
    whole = Median(3).purify(images, seeds=SEEDS)
    for place in range(5):
        one = Median(3).purify(images[place : place + 1].clone(), seeds=SEEDS)
        assert torch.equal(one[0], whole[place])
    assert torch.equal(
        Median(3).purify(images.transpose(0, 1), seeds=SEEDS[:3]).transpose(0, 1), whole
    )
    with torch.enable_grad():
        leaf = images.clone().requires_grad_()
        assert torch.equal(Median(3).purify(leaf, seeds=SEEDS).detach(), whole)


def test_smallest_images_equal_scipy():
    x = torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = ndimage.median_filter(x.numpy(), size=(1, 1, 3, 3), mode="mirror")
    np.testing.assert_array_equal(Median(3).purify(x, seeds=SEEDS[:2]).numpy(), expected)


def test_bad_input_is_refused(images):
    with pytest.raises(NumberError, match=r"defense\.window=1"):
        Median(1)
    with pytest.raises(ValueError, match="is even"):
        Median(4)
    with pytest.raises(ValueError, match="does not fit"):
        Median(7).purify(images[:, :, :3], seeds=SEEDS)
