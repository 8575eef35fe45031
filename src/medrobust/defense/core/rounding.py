"""A differentiable rounding."""

from torch import Tensor


def smooth_round(value: Tensor) -> Tensor:
    """Compute r + (c - r)³, r the nearest whole number (Shin and Song 2017).

    Its derivative 3 (c - r)² is that of a staircase with soft edges: 0 on a step, 3/4 where it
    jumps.
    """
    near = value.detach().round()
    return near + (value - near) ** 3


def slanted_round(value: Tensor) -> Tensor:
    """Compute nine tenths of `smooth_round` and one tenth of the value.

    Its derivative is nowhere below a tenth, so that values on a step can cross several.
    """
    return 0.9 * smooth_round(value) + 0.1 * value
