"""Bit clipping."""

from torch import Tensor

from medrobust.defense.core.base import Derivative, StraightThroughPurifier, unchanged
from medrobust.defense.core.rounding import smooth_round
from medrobust.number import whole


class BitClipping(StraightThroughPurifier):
    """Sets the lowest bits of every 8-bit value to zero (a Cushion of Medical Aegis).

    Unlike `BitDepth`, which rounds to the nearest level, it only darkens.

    Args:
        bits: number of bits, 1 to 7.
    """

    def __init__(self, bits: int = 3) -> None:
        super().__init__()
        self.step = 2 ** whole(bits, "defense.bits", low=1, high=7)
        self.quantization_step = self.step / 255

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute ⌊v / 2^bits⌋ 2^bits of the 8-bit value v."""
        value = (x * 255).round()
        return (value / self.step).floor() * self.step / 255

    def derivatives(self) -> dict[str, Derivative]:
        """Return `identity` and `smooth`, see `smoothed`."""
        return {"identity": unchanged, "smooth": self.smoothed}

    def smoothed(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute the same with `smooth_round`, which favours values that are about to jump.

        The 8-bit value jumps half a grey level below a multiple of 2^bits; ⌊c⌋ = round(c - 1/2).
        """
        place = (x * 255 + 0.5) / self.step
        return smooth_round(place - 0.5) * self.step / 255
