"""Separate streams of random numbers for attacker and defender.

An adaptive attacker averages over a randomized defense's noise. It must not see the very draws that
the deployed defense will make, so the two fold different words into a sample's seed.
"""

from collections.abc import Sequence

from torch import Tensor

from medrobust.rng import fold_in, sample_seeds


def attacker_seeds(seed: int, ids: Sequence[str]) -> Tensor:
    """int64 (N,) for the attack and its surrogate."""
    return fold_in(sample_seeds(seed, ids), 1)


def defender_seeds(seed: int, ids: Sequence[str]) -> Tensor:
    """int64 (N,) for the deployed defense."""
    return fold_in(sample_seeds(seed, ids), 2)
