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


def defender_seeds(seed: int, ids: Sequence[str], draw: int = 0) -> Tensor:
    """Return the seeds of one draw of the deployed defense, int64 (N,).

    A defense folds small numbers into its seeds itself (a copy, a step), so further draws have a
    stream of their own: their noise never repeats that of a copy of the first draw.

    Args:
        seed: the run's seed.
        ids: N sample ids.
        draw: number of the draw, from 0.
    """
    own = sample_seeds(seed, ids)
    return fold_in(fold_in(own, 3), draw) if draw else fold_in(own, 2)
