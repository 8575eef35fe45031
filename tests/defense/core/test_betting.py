"""Bets on a lead: slow references, Ville's bound by simulation, intervals that hold at any time."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from medrobust.defense.core.betting import _STAKES, lead_bounds, log_capital


def counts_over_time(shares: list[float], runs: int, n: int, seed: int = 0) -> np.ndarray:
    """Votes (runs, n, K) after each copy."""
    generator = np.random.default_rng(seed)
    votes = generator.choice(len(shares), p=shares, size=(runs, n))
    return np.eye(len(shares), dtype=np.int64)[votes].cumsum(1)


def capital(ahead: np.ndarray, behind: np.ndarray, other: np.ndarray, lead: float) -> np.ndarray:
    flat = [torch.from_numpy(part.ravel()) for part in (ahead, behind, other)]
    return log_capital(*flat, lead).numpy().reshape(ahead.shape)


@pytest.mark.parametrize("lead", [-0.4, 0.0, 0.3])
def test_capital_equals_a_game_played_vote_by_vote(lead):
    generator = np.random.default_rng(1)
    outcomes = generator.choice([1, -1, 0], p=[0.6, 0.3, 0.1], size=40)
    purses = np.ones(len(_STAKES))
    for outcome in outcomes:
        purses *= 1 + np.array(_STAKES) / (1 + lead) * (outcome - lead)
    votes = [torch.tensor([int((outcomes == x).sum())]) for x in (1, -1, 0)]
    assert log_capital(*votes, lead).item() == pytest.approx(math.log(purses.mean()), abs=1e-10)


def test_no_votes_no_capital():
    none = torch.zeros(2, dtype=torch.int64)
    torch.testing.assert_close(log_capital(none, none, none, 0.2), torch.zeros(2).double())


@pytest.mark.by_default("shares2-0.3")
@pytest.mark.parametrize(
    ("shares", "lead"), [([0.5, 0.5], 0.0), ([0.4, 0.4, 0.2], 0.0), ([0.6, 0.3, 0.1], 0.3)]
)
def test_a_true_hypothesis_is_rarely_refuted_at_any_time(shares, lead):
    """Looking after each of 250 votes: at level 0.05 in at most 5 % of 800 runs, and not never."""
    votes = counts_over_time(shares, 800, 250)
    other = votes.sum(2) - votes[..., 0] - votes[..., 1]
    for ahead, behind, bound in ((0, 1, lead), (1, 0, -lead)):
        paid = capital(votes[..., ahead], votes[..., behind], other, bound) >= math.log(20)
        share = paid.any(1).mean()
        assert 0.002 < share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 800)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.55, 0.35, 0.1], [0.9, 0.06, 0.04]])
def test_interval_holds_at_all_times(shares):
    votes = counts_over_time(shares, 150, 300)
    looks = votes[:, 9::10]
    top = np.sort(looks, axis=2)[..., ::-1]
    flat = [torch.from_numpy(top[..., place].ravel().copy()) for place in (0, 1)]
    other = torch.from_numpy(looks.sum(2).ravel()) - flat[0] - flat[1]
    level = 0.1 / (2 * len(shares))
    bounds = lead_bounds(*flat, other, level).numpy().reshape(*looks.shape[:2], 2)
    truth = sorted(shares)[-1] - sorted(shares)[-2]
    covered = (bounds[..., 0] <= truth) & (truth <= bounds[..., 1])
    assert covered.all(1).mean() >= 0.9
    width = bounds[..., 1] - bounds[..., 0]
    assert width[:, -1].mean() < width[:, 0].mean()


def test_bounds_are_where_the_capital_crosses():
    votes = [torch.tensor([number]) for number in (70, 20, 10)]
    low, high = lead_bounds(*votes, 0.01)[0].tolist()
    needed = math.log(100)
    expected = brentq(lambda m: log_capital(*votes, m).item() - needed, 0, 0.99)
    assert low == pytest.approx(expected, abs=1e-8)
    swapped = [votes[1], votes[0], votes[2]]
    expected = brentq(lambda m: log_capital(*swapped, -m).item() - needed, 0, 0.99)
    assert high == pytest.approx(expected, abs=1e-8)
    assert low < 0.5 < high


def test_unanimous_and_torn_votes_stay_in_range():
    many, none = torch.tensor([10_000, 5000]), torch.tensor([0, 5000])
    bounds = lead_bounds(many, none, torch.zeros(2, dtype=torch.int64), 1e-4)
    assert bounds.min() >= 0
    assert bounds.max() <= 1
    assert bounds[0, 1] == 1
    assert bounds[0, 0] > 0.99
    assert bounds[1, 0] == 0


def test_capital_falls_with_the_bound_and_with_votes_for_the_other():
    votes = [torch.tensor([number] * 50) for number in (60, 30, 10)]
    leads = torch.linspace(-0.9, 0.9, 50, dtype=torch.float64)
    assert (log_capital(*votes, leads).diff() <= 0).all()
    behind = torch.arange(0, 31)
    for lead in (-0.3, 0.0, 0.3):
        found = log_capital(torch.full((31,), 60), behind, 40 - behind, lead)
        assert (found.diff() < 0).all()
