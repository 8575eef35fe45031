"""Paired tests against SciPy's own forms and by simulation."""

import numpy as np
import pytest
from scipy.stats import binom

from medrobust.metric.paired import holm, paired


def test_mcnemar_is_the_sign_test_on_disagreements() -> None:
    one = np.array([1] * 30 + [1] * 9 + [0] * 2 + [0] * 9, float)
    other = np.array([1] * 30 + [0] * 9 + [1] * 2 + [0] * 9, float)
    found = paired(one, other, seed=0)
    assert (found.first, found.second, found.test) == (9, 2, "mcnemar")
    assert found.difference == pytest.approx(7 / 50)
    assert found.p == pytest.approx(2 * binom.cdf(2, 11, 0.5))
    assert paired(other, one, seed=0).p == found.p
    assert paired(one, one, seed=0).p == 1


def test_shares_are_permuted() -> None:
    generator = np.random.default_rng(0)
    one = generator.integers(0, 11, 12) / 10
    other = np.clip(one - generator.integers(-1, 4, 12) / 10, 0, 1)
    found = paired(one, other, seed=0)
    apart = one - other
    signs = np.array(np.meshgrid(*[[1, -1]] * 12)).reshape(12, -1)
    exact = (np.abs(apart @ signs) >= abs(apart.sum()) - 1e-9).mean()
    assert found.test == "permutation"
    assert found.p == pytest.approx(exact, abs=0.02)
    assert found == paired(one, other, seed=0)


@pytest.mark.by_default("1")
@pytest.mark.parametrize("draws", [1, 4])
def test_no_difference_is_rarely_found(draws: int) -> None:
    generator = np.random.default_rng(1)
    share, hits = generator.random(60), 0
    for seed in range(200 if draws == 1 else 40):
        one, other = (generator.random((2, draws, 60)) < share).mean(1)
        hits += paired(one, other, seed=seed).p <= 0.05
    assert hits <= (20 if draws == 1 else 7)


def test_holm() -> None:
    """The example of Holm's procedure by hand: 4, 3, 2, 1 times, never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("shapes", [(3, 4), (0, 0)])
def test_unlike_scores_are_refused(shapes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected one"):
        paired(np.ones(shapes[0]), np.ones(shapes[1]), seed=0)
