"""Toy defended systems that mask gradients, each with its true robustness known exactly.

The code stands for that of somebody who writes a defense outside the package. Every trap has one
file with the defense and a `build`; its truth is computed in float64 from the weights, apart from
any attack. Images whose fate is close are left out, so that a truth is a matter of finding the
right direction and not of the last thousandth of the ball.
"""

from collections.abc import Callable
from functools import cache

from tests.support.traps import (
    early_exit,
    exploding,
    lookup,
    nearest,
    random_pick,
    rounded,
    shattered,
    steep_detector,
    stochastic,
    thresholded,
)
from tests.support.traps.trap import Trap, left

TRAPS: dict[str, Callable[[], Trap]] = {
    "shattered": cache(shattered.build),
    "stochastic": cache(stochastic.build),
    "exploding": cache(exploding.build),
    "thresholded": cache(thresholded.build),
    "nearest": cache(nearest.build),
    "steep_detector": cache(steep_detector.build),
    "random_pick": cache(random_pick.build),
    "lookup": cache(lookup.build),
    "early_exit": cache(early_exit.build),
    "rounded": cache(rounded.build),
}
"""Builders by name; each builds its trap once."""

__all__ = ["TRAPS", "Trap", "left"]
