"""Anytime-valid tests and confidence intervals for the lead of one class's votes, by betting.

The lead of A over B is d = p_A - p_B, the mean of X = +1 for a vote for A, -1 for one for B, 0 for
any other. A bet against d <= m stakes the fraction f of the maximum, λ = f / (1 + m), on every next
vote. The capital Π (1 + λ (X - m)) is never negative, and if d <= m it is a supermartingale, E[1 +
λ (X - m)] <= 1. So is the mean capital over several fractions f. By Ville's inequality it ever
reaches 1 / level with probability at most `level`, so the test is anytime-valid: it may be
evaluated after every vote and stopped at any time (Waudby-Smith and Ramdas 2024; Howard et al.
2021). At m = 0 it is the mixture of binomial likelihood ratios of A against B. The fractions are a
fixed grid, so the sum is exact, not a quadrature.

The capital falls as m grows, and when a vote goes from another class to B. So the set of m that are
not rejected is an interval, and the runner-up is the last class to be rejected.
"""

import math

import torch
from torch import Tensor

# Fractions from nearly one, for leads visible in a dozen votes, to those for a lead of 0.2 %.
_STAKES = tuple(0.98 * 2.0 ** (-i / 4) for i in range(37))


def log_capital(ahead: Tensor, behind: Tensor, other: Tensor, lead: Tensor | float) -> Tensor:
    """Compute the log mean capital of the bets against p_ahead - p_behind <= lead.

    Args:
        ahead: votes for A (N,).
        behind: votes for B (N,).
        other: votes for neither (N,).
        lead: m in (-1, 1), a number or (N,).

    Returns:
        float64 (N,); zero before the first vote. If the hypothesis is true, it ever reaches log(1 /
        level) with probability at most `level`.
    """
    stake = torch.tensor(_STAKES, dtype=torch.float64, device=ahead.device)
    bound = torch.as_tensor(lead, dtype=torch.float64, device=ahead.device).reshape(-1, 1)
    part = stake / (1 + bound)
    capital = (
        ahead[:, None] * torch.log1p(part * (1 - bound))
        + behind[:, None] * torch.log1p(-stake)
        + other[:, None] * torch.log1p(-part * bound)
    )
    return capital.logsumexp(1) - math.log(len(_STAKES))


def lead_bounds(ahead: Tensor, behind: Tensor, other: Tensor, level: float) -> Tensor:
    """Compute a confidence interval of p_ahead - p_behind in [0, 1], each side at `level`.

    Args:
        ahead: votes for A (N,).
        behind: votes for B (N,), at most `ahead`.
        other: votes for neither (N,).
        level: probability that one side's bound is ever wrong.

    Returns:
        float64 (N, 2), lower and upper bound; rounded outwards by 2**-30.
    """
    needed = -math.log(level)
    zero = torch.zeros(len(ahead), dtype=torch.float64, device=ahead.device)
    # Bisections: `low` and `high` are rejected leads, `beyond` and `short` are not.
    low, beyond = zero.clone(), zero + 1 - 2.0**-30
    high, short = zero + 1 - 2.0**-30, zero.clone()
    for _ in range(30):
        middle = (low + beyond) / 2
        refuted = log_capital(ahead, behind, other, middle) >= needed
        low, beyond = torch.where(refuted, middle, low), torch.where(refuted, beyond, middle)
        middle = (short + high) / 2
        refuted = log_capital(behind, ahead, other, -middle) >= needed
        high, short = torch.where(refuted, middle, high), torch.where(refuted, short, middle)
    return torch.stack((low, (high + 2.0**-30).clamp(max=1.0)), dim=1)
