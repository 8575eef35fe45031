"""Exact Poisson sampling by table look-ups."""

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.stats import poisson
from torch import Tensor

_OWN = 16
"""First bit of an entry's own count; its other count is below, its threshold starts at bit 32."""


def whole_rates(rate: Tensor, words: Tensor, largest: int) -> Tensor:
    """Draw Poisson counts for whole rates, by Walker's alias method.

    A word's first bits choose a slot of the rate's row, its other bits one of the slot's two
    counts. Probabilities have a precision of 2**-32.

    Args:
        rate: whole numbers in [0, largest], int64, any shape.
        words: 32 random bits each, int64, the same shape.
        largest: largest rate of the table.

    Returns:
        int64 counts.
    """
    table, slots = _table_on(rate.device, largest)
    fraction = 32 - (slots.bit_length() - 1)
    place = (rate * slots).add_(words >> fraction)
    entry = table.index_select(0, place.flatten()).view(place.shape)
    below = words.bitwise_and((1 << fraction) - 1) < entry >> 32
    return (entry >> below.long().mul_(_OWN)).bitwise_and_(0xFFFF)


@lru_cache(maxsize=4)
def _table_on(device: torch.device, largest: int) -> tuple[Tensor, int]:
    table, slots = _alias_table(largest)
    return table.to(device), slots


@lru_cache(maxsize=4)
def _alias_table(largest: int) -> tuple[Tensor, int]:
    """Build the flat entries of the rates 0..largest, and the number of slots per rate.

    In each step the emptiest open slot of every row is filled from the fullest.
    """
    rates = np.arange(largest + 1)
    first = np.maximum(rates - np.ceil(6.5 * np.sqrt(rates)).astype(int) - 1, 0)
    last = rates + np.ceil(6.5 * np.sqrt(rates)).astype(int) + 16
    slots = 1 << int((last - first).max() - 1).bit_length()
    own = first[:, None] + np.arange(slots)
    mass = poisson.pmf(own, rates[:, None])
    mass *= slots / mass.sum(1, keepdims=True)
    row, other, share = np.arange(largest + 1), own.copy(), np.ones_like(mass)
    open_mass = mass.copy()
    for _ in range(slots):
        low, high = open_mass.argmin(1), np.where(np.isinf(open_mass), -1, open_mass).argmax(1)
        share[row, low] = np.clip(mass[row, low], 0, 1)
        other[row, low] = own[row, high]
        mass[row, high] -= 1 - share[row, low]
        open_mass[row, high] = mass[row, high]
        open_mass[row, low] = np.inf
    fraction = 32 - (slots.bit_length() - 1)
    threshold = np.rint(share * (1 << fraction)).astype(np.int64)
    packed = (threshold << 32) | (own << _OWN) | other
    return torch.from_numpy(packed.ravel()), slots


def small_rates(rate: Tensor, draw: Tensor) -> Tensor:
    """Draw Poisson counts for rates in [0, 1), by inversion; P(count > 9) < 1.2e-7.

    Args:
        rate: rates, float, any shape.
        draw: uniform numbers in [0, 1), float32, the same shape.

    Returns:
        int64 counts.
    """
    rate = rate.to(draw.dtype)
    term = torch.exp(-rate)
    below, counts = term.clone(), torch.zeros_like(draw, dtype=torch.uint8)
    for count in range(1, 10):
        counts += (draw >= below).view(torch.uint8)
        below.addcmul_(term, rate, value=1 / math.factorial(count))
        term.mul_(rate)
    return counts.long()
