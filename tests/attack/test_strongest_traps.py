"""The strongest attack finds the true robustness of systems that mask gradients."""

import pytest
import torch

from medrobust.attack.strongest import Strongest
from medrobust.threat.adaptive import Adaptive
from tests.support.traps import TRAPS, left

DRAWS = 20


@pytest.mark.parametrize("name", TRAPS)
def test_the_strongest_attack_leaves_no_more_than_the_truth(name: str) -> None:
    trap = TRAPS[name]()
    surrogate = Adaptive(eot_samples=32)(trap.victim, trap.defense)
    attack, seeds = Strongest(trap.eps, effort="standard"), torch.arange(len(trap.images))
    found = attack.craft(surrogate, trap.images, trap.labels, seeds=seeds).images
    assert left(trap, found, draws=DRAWS) <= trap.truth + 0.02, trap.why
