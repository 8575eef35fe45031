"""Bit-depth reduction by its closed form."""

import pytest
import torch

from medrobust.defense.bit_depth import BitDepth
from medrobust.number import NumberError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 17, 23, generator=torch.Generator().manual_seed(0))


SEEDS = torch.arange(5)


@pytest.mark.parametrize("bits", range(1, 9))
def test_bit_depth_levels_and_error(images, bits):
    found = BitDepth(bits).purify(images, seeds=SEEDS)
    levels = 2**bits - 1
    assert ((found * levels) - (found * levels).round()).abs().max() < 1e-4
    assert (found - images).abs().max() <= 0.5 / levels + 1e-6
    torch.testing.assert_close(BitDepth(bits).purify(found, seeds=SEEDS), found)


@pytest.mark.parametrize("bits", [0, 9])
def test_bad_input_is_refused(bits):
    with pytest.raises(NumberError, match=rf"defense\.bits={bits}"):
        BitDepth(bits)
