import copy
from typing import Any

import pytest
import torch
from torch import nn

from medrobust.model.core.victim import Victim
from medrobust.number import NumberError
from medrobust.objective.adversarial_training import AdversarialTraining
from medrobust.objective.awp import AWP
from medrobust.objective.standard import Standard
from medrobust.objective.trades import TRADES

X = torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(2))
Y, SEEDS = torch.arange(10) % 4, torch.arange(10)


def make_victim() -> Victim:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Linear(216, 4)
    )
    return Victim(net, mean=[0.5] * 3, std=[0.25] * 3, architecture={}).train()


def wrapped(kind: type, gamma: float = 0.01) -> AWP:
    return AWP("awp", objective=kind(steps=3), gamma=gamma)


@pytest.mark.parametrize("kind", [AdversarialTraining, TRADES])
def test_each_layer_moves_by_its_share_and_upwards(kind: type) -> None:
    victim, objective = make_victim(), wrapped(kind)
    adversarial = objective.objective.craft(victim, X, Y, seeds=SEEDS)
    steps = objective.perturbation(victim, X, adversarial, Y)
    weights = dict(victim.named_parameters())
    assert set(steps) == {"network.0.weight", "network.4.weight"}  # no bias, no batch norm
    for name, step in steps.items():
        torch.testing.assert_close(step.norm(), 0.01 * weights[name].detach().norm())
        assert not step.requires_grad
    before = objective.objective.outer(victim, X, adversarial, Y)
    assert objective.loss(victim, X, Y, seeds=SEEDS) > before


@pytest.mark.parametrize("kind", [AdversarialTraining, TRADES])
def test_the_gradient_is_that_at_the_moved_weights(kind: type) -> None:
    victim, objective = make_victim(), wrapped(kind, gamma=0.05)
    adversarial = objective.objective.craft(victim, X, Y, seeds=SEEDS)
    steps = objective.perturbation(victim, X, adversarial, Y)
    loss = objective.loss(victim, X, Y, seeds=SEEDS)
    loss.backward()
    moved = copy.deepcopy(victim)  # moved in place, as in the reference code
    moved.zero_grad()
    with torch.no_grad():
        for name, weight in moved.named_parameters():
            weight += steps.get(name, 0)
    expected = objective.objective.outer(moved, X, adversarial, Y)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(victim.parameters(), moved.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_weights_are_the_same_bits_and_statistics_move_once() -> None:
    victim, objective = make_victim(), wrapped(AdversarialTraining)
    before = {name: weight.clone() for name, weight in victim.named_parameters()}
    objective.loss(victim, X, Y, seeds=SEEDS).backward()
    assert all(torch.equal(weight, before[name]) for name, weight in victim.named_parameters())
    assert victim.network[1].num_batches_tracked == 1  # not by the pass that finds v
    torch.optim.SGD(victim.parameters(), lr=0.1).step()
    for name, weight in victim.named_parameters():
        torch.testing.assert_close(weight, before[name] - 0.1 * weight.grad, rtol=1e-6, atol=1e-8)


def test_a_layer_without_gradient_stays() -> None:
    victim, objective = make_victim(), wrapped(AdversarialTraining)
    with torch.no_grad():
        victim.network[4].weight.zero_()
    steps = objective.perturbation(victim, X, X, Y)
    assert all(step.isfinite().all() for step in steps.values())
    assert steps["network.0.weight"].norm() == 0
    victim.network[0].weight.requires_grad_(False)
    assert set(objective.perturbation(victim, X, X, Y)) == {"network.4.weight"}


def test_it_chooses_epochs_as_what_it_wraps_and_has_its_settings() -> None:
    objective = wrapped(TRADES)
    assert objective.validation is objective.objective.validation
    found = {wrapped(TRADES), wrapped(AdversarialTraining), wrapped(TRADES, gamma=0.005)}
    assert len({one.fingerprint for one in found}) == 3


def test_only_robust_objectives_are_wrapped() -> None:
    wrong: Any = Standard()
    with pytest.raises(
        TypeError, match=r"AWP.objective is a Standard, expected an object of RobustObjective"
    ):
        AWP("awp", objective=wrong, gamma=0.01)


@pytest.mark.parametrize("gamma", [0, -1, 2])
def test_an_impossible_size_is_refused(gamma: float) -> None:
    with pytest.raises(NumberError, match=r"objective\.gamma="):
        wrapped(TRADES, gamma=gamma)
