import numpy as np
import pytest
import torch

from medrobust.defense.bit_clipping import BitClipping
from medrobust.number import NumberError


@pytest.mark.parametrize("bits", range(1, 8))
def test_is_a_mask_on_bytes(bits):
    values = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    expected = values & np.uint8(0xFF << bits & 0xFF)
    found = BitClipping(bits).purify(torch.from_numpy(values).float() / 255, seeds=torch.zeros(1))
    assert np.array_equal((found * 255).round().byte().numpy(), expected)


@pytest.mark.parametrize("bits", [0, 8, 2.5])
def test_bad_bits(bits):
    with pytest.raises(NumberError, match=r"defense\.bits"):
        BitClipping(bits)
