"""Closed forms against SciPy's intervals, and against a simulation of McNemar's test."""

import numpy as np
import pytest
from scipy.stats import binomtest

from medrobust.planning.precision import detectable_difference, half_width, images_for


@pytest.mark.parametrize("n", [2, 20, 100, 300, 2006])
def test_the_half_width_is_that_of_wilsons_interval_at_one_half(n: int) -> None:
    bounds = binomtest(n // 2, n).proportion_ci(method="wilson")
    assert half_width(n) == pytest.approx((bounds.high - bounds.low) / 2, rel=1e-12)
    for hits in range(0, n + 1, max(1, n // 7)):  # no other share has a longer one
        bounds = binomtest(hits, n).proportion_ci(method="wilson")
        assert bounds.high - bounds.low <= 2 * half_width(n) * (1 + 1e-12)


def test_300_images() -> None:
    assert round(100 * half_width(300), 1) == 5.6


@pytest.mark.parametrize("half", [0.4, 0.1, 0.05, 0.03, 0.01, 0.002])
def test_the_images_are_the_fewest_that_give_the_precision(half: float) -> None:
    n = images_for(half)
    assert half_width(n) <= half * (1 + 1e-9)
    assert n == 1 or half_width(n - 1) > half
    assert images_for(half_width(n)) == n


@pytest.mark.parametrize("half", [0.0, 0.5, -1.0])
def test_no_images_give_a_half_width_outside(half: float) -> None:
    with pytest.raises(ValueError, match="expected more than 0 and below"):
        images_for(half)


@pytest.mark.parametrize(("n", "discordant"), [(200, 0.3), (1000, 0.3), (1000, 0.1)])
def test_the_difference_is_shown_in_four_of_five_experiments(n: int, discordant: float) -> None:
    d = detectable_difference(n, discordant)
    assert d is not None
    generator = np.random.default_rng(0)
    only_one, only_other = (discordant + d) / 2, (discordant - d) / 2
    draws = generator.multinomial(n, [only_one, only_other, 1 - discordant], size=20_000)
    b, c = draws[:, 0], draws[:, 1]
    shown = np.abs(b - c) > 1.959964 * np.sqrt(b + c)
    assert shown.mean() == pytest.approx(0.8, abs=0.02)


def test_few_images_show_no_difference() -> None:
    assert detectable_difference(10, 0.1) is None
