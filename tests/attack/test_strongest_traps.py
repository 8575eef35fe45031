"""The strongest attack finds the true robustness of systems that mask gradients."""

from dataclasses import replace

import pytest
import torch

from medrobust.attack.strongest import Strongest
from medrobust.threat.adaptive import Adaptive
from tests.support.traps import TRAPS, left

DRAWS = 20


def more_than_the_truth(name: str, effort: str, count: int | None = None) -> float:
    """Share of the first images that the attack leaves although another image fools the system."""
    whole = TRAPS[name]()
    trap = replace(
        whole,
        images=whole.images[:count],
        labels=whole.labels[:count],
        share=whole.share[:count],
    )
    surrogate = Adaptive(eot_samples=32)(trap.victim, trap.defense)
    attack, seeds = Strongest(trap.eps, effort=effort), torch.arange(len(trap.images))
    found = attack(surrogate, trap.images, trap.labels, seeds=seeds)
    return left(trap, found, draws=DRAWS) - trap.truth


@pytest.mark.by_default("shattered", "steep_detector", "exploding")
@pytest.mark.parametrize("name", [name for name in TRAPS if name != "stochastic"])
def test_little_effort_leaves_little_more_than_the_truth_of_some_images(name: str) -> None:
    assert more_than_the_truth(name, "small", 96) <= 0.05, TRAPS[name]().why


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_left_within_two_points_of_the_truth(name: str) -> None:
    assert more_than_the_truth(name, "standard") <= 0.02, TRAPS[name]().why
