"""Systems that mask gradients fool oblivious and plain adaptive PGD, and their truth is exact."""

import numpy as np
import pytest
import torch

from medrobust.attack.core.norm import distance
from medrobust.attack.orthogonal_pgd import OrthogonalPGD
from medrobust.attack.pgd import PGD
from medrobust.rng import fold_in
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.traps import TRAPS, left
from tests.support.traps.ascent import ascend
from tests.support.traps.brute import by_grid, feasible, plane_of

FEW = 40
SEPARABLE = {
    "shattered": {"points": 33},
    "exploding": {"points": 33},
    "thresholded": {"points": 9, "together": 2},
    "lookup": {"points": 33},
    "rounded": {"points": 3},
}
"""Traps whose score is a sum over pixels or pairs, and the grid on which each is tried."""


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_right_when_clean_and_neither_safe_nor_lost_under_attack(name: str) -> None:
    trap = TRAPS[name]()
    assert trap.name == name
    assert len(trap.images) >= 500
    assert trap.images.amin() >= 0
    assert trap.images.amax() <= 1
    assert 0.1 < trap.truth < 0.6
    assert trap.labels.bincount().min() > 0.1 * len(trap.labels)
    seen = trap.defense(trap.images, trap.victim, seeds=torch.arange(len(trap.images)))
    assert seen.abstain is None or not seen.abstain.any()
    assert left(trap, trap.images) == 1 or (trap.defense.random and left(trap, trap.images) > 0.95)


@pytest.mark.by_default(
    "early_exit", "exploding", "lookup", "rounded", "shattered", "steep_detector", "thresholded"
)
@pytest.mark.parametrize("name", TRAPS)
def test_gradients_mislead_the_oblivious_and_the_plain_adaptive_attacker(name: str) -> None:
    trap = TRAPS[name]()
    attack, seeds = PGD(trap.eps, steps=40), torch.arange(len(trap.images))
    bare = VictimSurrogate(trap.victim)
    for surrogate in (bare, Adaptive()(trap.victim, trap.defense)):
        found = attack.craft(surrogate, trap.images, trap.labels, seeds=seeds).images
        assert left(trap, found) > trap.truth + 0.2  # asked for are 0.05


def test_an_attack_on_detectors_gets_no_gradient_from_the_steep_score_either() -> None:
    trap = TRAPS["steep_detector"]()
    surrogate = Adaptive()(trap.victim, trap.defense)
    attack, seeds = OrthogonalPGD(trap.eps, steps=40), torch.arange(len(trap.images))
    found = attack.craft(surrogate, trap.images, trap.labels, seeds=seeds).images
    assert left(trap, found) > trap.truth + 0.05


@pytest.mark.by_default(
    "early_exit-60-3",
    "exploding-60-3",
    "lookup-60-3",
    "rounded-60-3",
    "steep_detector-60-3",
    "stochastic-60-3",
    "thresholded-60-3",
)
@pytest.mark.parametrize(
    ("steps", "restarts"), [(60, 3), pytest.param(200, 10, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", TRAPS)
def test_an_attack_on_the_unmasked_twin_reaches_the_truth_and_goes_no_further(
    name: str, steps: int, restarts: int
) -> None:
    trap = TRAPS[name]()
    found = ascend(trap, steps=steps, restarts=restarts)
    assert distance(trap.images, found, "linf").max() <= trap.eps + 1e-6
    assert abs(left(trap, found) - trap.truth) < 0.01


@pytest.mark.parametrize("name", SEPARABLE)
def test_trying_every_pixel_on_a_grid_finds_the_same_robust_images(name: str) -> None:
    trap = TRAPS[name]()
    found = [by_grid(trap, row, **SEPARABLE[name]) for row in range(FEW)]
    assert found == (trap.share[:FEW] == 1).tolist()
    assert 0 < sum(found) < FEW


def test_a_line_through_all_reachable_logits_finds_the_images_of_a_robust_vote() -> None:
    trap = TRAPS["nearest"]()
    x = trap.images[:100]
    toward = torch.from_numpy(np.sign(plane_of(trap.victim.network)[0])).float().view_as(x[0])
    right = torch.ones(len(x), dtype=torch.bool)
    for part in torch.linspace(-1, 1, 201):
        seen = trap.defense(x + part * trap.eps * toward, trap.victim, seeds=torch.arange(100))
        right &= seen.label == trap.labels[:100]
    assert right.tolist() == (trap.share[:100] == 1).tolist()


def test_a_linear_program_finds_who_is_wrong_and_undetected() -> None:
    trap = TRAPS["steep_detector"]()
    weight, bias = plane_of(trap.victim.network)
    probe = trap.defense.probe.double().numpy()
    shift, limit = -0.5 * probe.sum(), trap.defense.limit
    hidden = [(probe, shift + limit), (-probe, limit - shift)]
    for row in range(FEW):
        turn = 1 - 2 * int(trap.labels[row])
        wrong = (turn * weight, turn * bias)
        assert feasible(trap.images[row], trap.eps, [wrong, *hidden]) == (trap.share[row] == 0)


def test_a_linear_program_finds_who_is_wrong_on_either_pick() -> None:
    trap = TRAPS["random_pick"]()
    weight, bias = (part / 1000 for part in plane_of(trap.victim.network))
    second = trap.defense.second.double().numpy()
    for row in range(FEW):
        turn = 1 - 2 * int(trap.labels[row])
        first = (turn * weight, turn * bias)
        other = (turn * second, -turn * 0.5 * second.sum())
        chances = [feasible(trap.images[row], trap.eps, [one]) for one in (first, other)]
        assert chances == [True, True]
        both = feasible(trap.images[row], trap.eps, [first, other])
        assert trap.share[row] == (0 if both else 0.5)


def test_a_linear_program_finds_who_passes_the_cheap_head() -> None:
    trap = TRAPS["early_exit"]()
    weight, bias = plane_of(trap.victim.network)
    cheap, exit_at = trap.defense.cheap.double().numpy(), trap.defense.exit_at
    for row in range(FEW):
        turn = 1 - 2 * int(trap.labels[row])
        shift = -turn * 0.5 * cheap.sum()
        handed_on = [(turn * weight, turn * bias), (turn * cheap, shift + exit_at)]
        sure = [(turn * cheap, shift - exit_at)]
        fooled = any(feasible(trap.images[row], trap.eps, one) for one in (handed_on, sure))
        assert fooled == (trap.share[row] == 0)


def test_draws_at_the_best_corner_are_right_as_often_as_the_distribution_says() -> None:
    trap = TRAPS["stochastic"]()
    weight = torch.from_numpy(plane_of(torch.nn.Sequential(*trap.victim.network[1:]))[0]).float()
    turn = (2 * trap.labels - 1).view(-1, 1, 1, 1)  # the score falls where a pixel rises
    corner = trap.images + trap.eps * turn * weight.sign().view(1, 1, 8, 8)
    seeds, draws = torch.arange(len(corner)), 400
    right = torch.zeros(len(corner), dtype=torch.float64)
    for draw in range(draws):
        seen = trap.defense(corner, trap.victim, seeds=fold_in(seeds, draw))
        right += (seen.label == trap.labels).double()
    deviation = (trap.share * (1 - trap.share) / draws).sqrt() + 1 / draws
    assert ((right / draws - trap.share).abs() / deviation).max() < 5
    assert abs(float(right.mean() / draws) - trap.truth) < 0.004


def test_the_relaxation_has_tiny_slopes_of_the_wrong_sign_and_huge_ones() -> None:
    trap = TRAPS["exploding"]()
    between = torch.full((1, 1, 8, 8), 9 / 16 + 1e-6)
    x = torch.cat([trap.images, between]).requires_grad_()
    ends = trap.defense.purify(x, seeds=torch.arange(len(x)))
    (slope,) = torch.autograd.grad(ends.sum(), x)
    plateau = slope[:-1].abs() < 1e-3
    assert (slope[:-1] < 0).double().mean() > 0.4
    assert plateau.double().mean() > 0.9
    assert torch.allclose((2 * ends)[:-1][plateau], ((8 * x).round() / 8)[:-1][plateau], atol=1e-3)
    assert slope[-1].abs().min() > 10
