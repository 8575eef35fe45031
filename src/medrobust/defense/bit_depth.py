"""Bit-depth reduction."""

from torch import Tensor

from medrobust.defense.core.base import Derivative, StraightThroughPurifier, unchanged
from medrobust.defense.core.rounding import smooth_round
from medrobust.number import whole


class BitDepth(StraightThroughPurifier):
    """Rounds every value to 2^bits levels (Xu, Evans and Qi 2018, feature squeezing).

    Args:
        bits: number of bits kept, 1 to 8.
    """

    def __init__(self, bits: int = 5) -> None:
        super().__init__()
        self.levels = 2 ** whole(bits, "defense.bits", low=1, high=8) - 1
        self.quantization_step = 1 / self.levels

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute round(x (2^bits - 1)) / (2^bits - 1)."""
        return (x * self.levels).round() / self.levels

    def derivatives(self) -> dict[str, Derivative]:
        """Return `identity` and `smooth`, see `smoothed`."""
        return {"identity": unchanged, "smooth": self.smoothed}

    def smoothed(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute the same with `smooth_round`, which favours values that are about to jump.

        Its derivative is positive, so that sign steps are those of the identity, except on a level
        itself, where it is 0: with 8 bits everywhere on a clean image, so it is not the default.
        """
        return smooth_round(x * self.levels) / self.levels
