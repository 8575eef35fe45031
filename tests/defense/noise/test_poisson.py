"""Tables of Poisson numbers against SciPy's probabilities, entry by entry and by their draws."""

import numpy as np
import pytest
import torch
from scipy import stats

from medrobust.defense.noise.additive import PoissonNoise
from medrobust.defense.noise.poisson import _alias_table, small_rates, whole_rates
from medrobust.rng import bits, sample_seeds, uniform


@pytest.mark.parametrize("largest", [1, 100, 255])
def test_table_holds_the_distribution(largest):
    """What all 2**32 words of a rate give, added up: every probability within 1e-9 of SciPy's."""
    table, slots = _alias_table(largest)
    entries = table.numpy().reshape(largest + 1, slots)
    fraction = 32 - (slots.bit_length() - 1)
    share = (entries >> 32) / 2**fraction
    own, other = (entries >> 16) & 0xFFFF, entries & 0xFFFF
    support = np.arange(own.max() + 1)
    for rate in range(largest + 1):
        mass = np.zeros(len(support))
        np.add.at(mass, own[rate], share[rate] / slots)
        np.add.at(mass, other[rate], (1 - share[rate]) / slots)
        np.testing.assert_allclose(mass, stats.poisson.pmf(support, rate), atol=1e-9)


def test_every_word_follows_its_entry():
    words = torch.cat([bits(torch.tensor([5]), 500)[0] & 0xFFFFFFFF, torch.tensor([0, 2**32 - 1])])
    rates = torch.arange(502) % 256
    table, slots = _alias_table(255)
    found = whole_rates(rates, words, 255)
    fraction = 32 - (slots.bit_length() - 1)
    for rate, word, count in zip(rates.tolist(), words.tolist(), found.tolist(), strict=True):
        entry = int(table[rate * slots + (word >> fraction)])
        own = word % 2**fraction < entry >> 32
        assert count == ((entry >> 16) & 0xFFFF if own else entry & 0xFFFF)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.99])
def test_small_rates(rate):
    draw = uniform(sample_seeds(0, [str(i) for i in range(100)]), (400,))
    counts = small_rates(torch.full_like(draw, rate), draw)
    expected = stats.poisson.ppf(np.nextafter(draw.double().numpy(), 1), rate)
    assert (counts.numpy() == np.maximum(expected, 0)).mean() > 0.9999


def test_an_8_bit_image_and_one_just_beside_it_get_the_same_noise():
    """At a peak of 255 grey levels are whole rates up to rounding, and nothing is added to them."""
    levels = torch.arange(256, dtype=torch.float32).view(1, 1, 16, 16)
    seeds = sample_seeds(0, ["a"])
    whole = PoissonNoise(255)(levels / 255, seeds=seeds)
    beside = PoissonNoise(255)((levels / 255 * (1 - 1e-7)), seeds=seeds)
    assert torch.equal((whole * 255).round(), (beside * 255).round())


def test_moments_of_rates_between_whole_ones():
    seeds = sample_seeds(0, [str(i) for i in range(400)])
    for rate in (0.4, 17.3, 120.5):
        counts = PoissonNoise(255)(torch.full((400, 1, 30, 30), rate / 255), seeds=seeds) * 255
        n = counts.numel()
        assert abs(counts.mean().item() - rate) < 4 * (rate / n) ** 0.5
        assert abs(counts.var().item() - rate) < 5 * ((rate + 2 * rate**2) / n) ** 0.5
