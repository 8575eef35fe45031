"""MedRDF's robust metric RM: its guarantee, its threshold, and the shares of Table IX."""

from torch import Tensor

from medrobust.number import whole


def least_share(rm: float, classes: int) -> float:
    """Return the smallest vote share that the leading class can have at an RM (MedRDF, Eq. 10).

    RM = K (n_A - n_B) / n; the leader's share is least where the other classes share evenly.

    Args:
        rm: robust metric in [0, K].
        classes: number of classes K, at least 2.

    Returns:
        1/K + (K - 1)/K² · rm, in [1/K, 1].
    """
    return 1 / classes + (classes - 1) / classes**2 * rm


def default_threshold(classes: int) -> int:
    """Return the smallest whole RM that guarantees the leader more than half of the votes.

    Eq. 10 exceeds 1/2 where RM > K (K - 2) / (2 (K - 1)) = (K - 1)/2 - 1/(2 (K - 1)); the smallest
    whole number above that is ⌊K / 2⌋. It is the paper's 1 for K = 3 (at least 5/9 of the votes)
    and 3 for K = 7 (25/49).

    Args:
        classes: number of classes K, at least 2.
    """
    return whole(classes, "classes", low=2) // 2


def robust_shares(right: Tensor, robust: Tensor) -> dict[str, Tensor]:
    """Split the answers into the four kinds of MedRDF's Table IX.

    Args:
        right: bool (N,), True for a correct answer; an abstention is none.
        robust: bool (N,), True where RM reaches the threshold.

    Returns:
        name -> bool (N,); each image is in exactly one.
    """
    return {
        "rm_correct_robust": right & robust,
        "rm_correct_not_robust": right & ~robust,
        "rm_incorrect_not_robust": ~right & ~robust,
        "rm_incorrect_robust": ~right & robust,
    }
