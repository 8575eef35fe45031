"""Tests and intervals for the lead of one class's votes, valid at whatever moment one looks.

The lead of A over B is d = p_A - p_B, the mean of X = +1 for a vote for A, -1 for one for B, 0
for any other. A gambler who holds d <= m to be false stakes the share f of what can be staked,
λ = f / (1 + m), on every next vote; the capital Π (1 + λ (X - m)) is never negative, and where
d <= m it shrinks on average, E[1 + λ (X - m)] <= 1. So does the mean capital of several gamblers,
each with an f of its own. By Ville's inequality such capital ever reaches 1 / level with
probability at most `level`: one may look after every vote, and stop when it pleases (Waudby-Smith
and Ramdas 2024; Howard et al. 2021). At m = 0 this is the mixture of binomial likelihood ratios
of A against B. The gamblers stand on a fixed grid, so the sum is exact, not a quadrature.

Every gambler's capital falls as m grows, and when a vote goes from another class to B. So the set
of m that are not refuted is an interval, and of all classes the runner-up refutes last.
"""

import math

import torch
from torch import Tensor

# Stakes from nearly everything, for leads seen in a dozen votes, to what a lead of 0.2 % needs.
_STAKES = tuple(0.98 * 2.0 ** (-i / 4) for i in range(37))


def log_capital(ahead: Tensor, behind: Tensor, other: Tensor, lead: Tensor | float) -> Tensor:
    """Log of the mean capital of those who bet against p_ahead - p_behind <= lead.

    Args:
        ahead: votes for A (N,).
        behind: votes for B (N,).
        other: votes for neither (N,).
        lead: m in (-1, 1), a number or (N,).

    Returns:
        float64 (N,); zero before the first vote. Where the hypothesis is true, the chance that it
        ever reaches log(1 / level) is at most `level`.
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
    """Leads p_ahead - p_behind in [0, 1] that are not refuted, each side at `level`.

    Args:
        ahead: votes for A (N,).
        behind: votes for B (N,), at most `ahead`.
        other: votes for neither (N,).
        level: chance that one side's bound is ever wrong.

    Returns:
        float64 (N, 2), lower and upper bound; rounded outwards by 2**-30.
    """
    needed = -math.log(level)
    zero = torch.zeros(len(ahead), dtype=torch.float64, device=ahead.device)
    # m in (inside, outside): `inside` is refuted as a lower bound of the lead's range, and so on.
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
