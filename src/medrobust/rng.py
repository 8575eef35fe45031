"""Random numbers seeded per sample, not per batch.

The generator is counter-based: number `i` of a sample is a pure function of (seed of the sample,
`i`). Without state, an image gets the same noise for any batch size, number of devices or workers,
and after resuming. A whole batch is drawn in a few tensor operations on its device.

The generator is SplitMix64 (Steele, Lea and Flood 2014) with an explicit counter.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # two's complement of the odd golden-ratio increment
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64
_FOLD = 0xD1B54A32D192ED03 - 2**64


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Shift int64 right logically (torch's own shift keeps the sign)."""
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    """Apply SplitMix64's finaliser in place; `z` is int64 of any shape."""
    z = z.bitwise_xor_(_shift_right(z, 30)).mul_(_MIX_1)
    z = z.bitwise_xor_(_shift_right(z, 27)).mul_(_MIX_2)
    return z.bitwise_xor_(_shift_right(z, 31))


def sample_seeds(seed: int, ids: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
    """Return seeds of samples, a function of the run's seed and each sample's id.

    Args:
        seed: the run's seed, any integer.
        ids: N sample ids.
        device: device of the seeds.

    Returns:
        int64 tensor (N,).
    """
    words = [
        int.from_bytes(
            hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest(),
            "little",
            signed=True,
        )
        for name in ids
    ]
    return torch.tensor(words, dtype=torch.int64, device=device)


def fold_in(seeds: Tensor, value: int | Tensor) -> Tensor:
    """Return new, independent seeds for the `value`-th use (a step, a restart, a copy).

    Args:
        seeds: int64 (N,).
        value: a non-negative integer, or an int64 tensor that broadcasts against `seeds`.

    Returns:
        int64 of the broadcast shape.
    """
    value = torch.as_tensor(value, dtype=torch.int64, device=seeds.device)
    return _mix(_mix(seeds + _FOLD) + (value + 1) * _GAMMA)


def bits(seeds: Tensor, count: int) -> Tensor:
    """Return the first `count` 64-bit words of each sample's stream.

    Args:
        seeds: int64 (N,).
        count: words per sample.

    Returns:
        int64 (N, count), all 64 bits random.
    """
    counter = torch.arange(1, count + 1, dtype=torch.int64, device=seeds.device) * _GAMMA
    return _mix(seeds[:, None] + counter)


def uniform(seeds: Tensor, shape: Sequence[int]) -> Tensor:
    """Return uniform numbers in [0, 1), 24 bits each.

    Args:
        seeds: int64 (N,).
        shape: shape of one sample's numbers.

    Returns:
        float32 (N, *shape).
    """
    count = math.prod(shape)
    words = bits(seeds, (count + 1) // 2)
    low = words.bitwise_and(0xFFFFFF).to(torch.float32)
    high = _shift_right(words, 40).to(torch.float32)
    numbers = torch.stack((high, low), dim=2).flatten(1)[:, :count].mul(2.0**-24)
    return numbers.reshape(len(seeds), *shape)


def normal(seeds: Tensor, shape: Sequence[int]) -> Tensor:
    """Return standard normal numbers, by the inverse distribution function of `uniform`.

    Args:
        seeds: int64 (N,).
        shape: shape of one sample's numbers.

    Returns:
        float32 (N, *shape); |value| < 5.5, since the uniform has 24 bits.
    """
    centred = uniform(seeds, shape).mul_(2.0).add_(2.0**-24 - 1.0)  # in (-1, 1), never an end
    return torch.erfinv(centred).mul_(math.sqrt(2.0))


def integers(seeds: Tensor, high: int) -> Tensor:
    """Return one integer in [0, high) per sample (bias below high / 2**24).

    Args:
        seeds: int64 (N,).
        high: exclusive upper bound, 1 to 2**16.

    Returns:
        int64 (N,).
    """
    return (uniform(seeds, (1,))[:, 0].double() * high).long().clamp_(max=high - 1)
