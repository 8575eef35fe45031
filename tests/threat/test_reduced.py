"""Gradients in bfloat16, decisions in float32."""

import pytest
import torch
from torch import Tensor

from medrobust.attack.core.base import AttackError
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.norm import distance
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.pgd import PGD
from medrobust.defense.gaussian_smoothing import GaussianSmoothing
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from tests.support.helpers import small_cnn

N = 64
X = torch.rand(N, 3, 12, 12, generator=torch.Generator().manual_seed(0))
SEEDS = sample_seeds(0, [str(i) for i in range(N)])
EPS = 2 / 255


@pytest.fixture(scope="module")
def victim() -> Victim:
    """Untrained, with each of its classes as the answer to some of the images."""
    victim = small_cnn()
    with torch.no_grad():
        victim.network[-1].bias.sub_(victim(X).mean(0))
    return victim.accelerate()


@pytest.fixture(scope="module")
def goal(victim: Victim) -> Goal:
    return Goal(CrossEntropy(), Misclassified(), victim(X).argmax(1))


def right(victim: Victim, x: Tensor, y: Tensor) -> int:
    with torch.no_grad():
        return int((victim(x).argmax(1) == y).sum())


def test_gradient_is_near_and_decisions_are_exact(victim: Victim, goal: Goal) -> None:
    exact = VictimSurrogate(victim)
    reduced = ReducedPrecision(exact)
    seen, wanted = (s.value_and_grad(X, goal, seeds=SEEDS) for s in (reduced, exact))
    assert seen.grad.dtype == torch.float32
    assert not torch.equal(seen.grad, wanted.grad)  # it did run in bfloat16
    near = torch.cosine_similarity(seen.grad.flatten(1), wanted.grad.flatten(1))
    assert near.min() > 0.95
    assert near.median() > 0.99
    for ours, theirs in zip(
        reduced.value(X, goal, seeds=SEEDS), exact.value(X, goal, seeds=SEEDS), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert torch.equal(reduced(X, SEEDS).logits, exact(X, SEEDS).logits)
    assert reduced.fingerprint != exact.fingerprint
    again = exact.value_and_grad(X, goal, seeds=SEEDS)  # nothing of the mode is left
    assert torch.equal(again.grad, wanted.grad)


@pytest.mark.parametrize("early_stop", [False, True])
def test_pgd_fools_as_many(victim: Victim, goal: Goal, early_stop: bool) -> None:
    attack = PGD(EPS, steps=10, early_stop=early_stop)
    exact = VictimSurrogate(victim)
    found = [
        attack(surrogate, X, goal.labels, seeds=SEEDS)
        for surrogate in (exact, ReducedPrecision(exact))
    ]
    left = [right(victim, images, goal.labels) for images in found]
    assert 10 < left[0] < 54
    assert abs(left[1] - left[0]) <= 4
    assert distance(X, found[1], "linf").max() <= EPS


class Boastful(VictimSurrogate):
    """Its quick look calls every image fooled."""

    exact = False

    def _value_and_grad(self, x: Tensor, goal: Goal, *, seeds: Tensor):  # type: ignore[no-untyped-def]
        seen = super()._value_and_grad(x, goal, seeds=seeds)
        return seen._replace(reached=torch.ones_like(seen.reached))


@pytest.mark.parametrize("early_stop", [False, True])
def test_a_wrong_guess_decides_nothing(victim: Victim, goal: Goal, early_stop: bool) -> None:
    attack = PGD(EPS, steps=10, early_stop=early_stop)
    honest = attack(VictimSurrogate(victim), X, goal.labels, seeds=SEEDS)
    misled = attack(Boastful(victim), X, goal.labels, seeds=SEEDS)
    assert right(victim, misled, goal.labels) == right(victim, honest, goal.labels)


def test_through_a_defense(victim: Victim, goal: Goal) -> None:
    exact = Adaptive(4)(victim, GaussianSmoothing())
    wanted = exact.value_and_grad(X, goal, seeds=SEEDS).grad
    grad = ReducedPrecision(exact).value_and_grad(X, goal, seeds=SEEDS).grad
    assert torch.cosine_similarity(grad.flatten(1), wanted.flatten(1)).min() > 0.95
    assert not torch.equal(grad, wanted)


def test_a_plain_victim_is_refused() -> None:
    surrogate: Surrogate = ReducedPrecision(VictimSurrogate(small_cnn()))
    with pytest.raises(RuntimeError, match="accelerate"):
        PGD(EPS, steps=1)(surrogate, X, torch.zeros(N, dtype=torch.int64), seeds=SEEDS)


def test_a_black_box_stays_one(victim: Victim) -> None:
    surrogate = ReducedPrecision(BlackBox()(victim, NoDefense()))
    with pytest.raises(AttackError, match="needs gradients"):
        PGD(EPS, steps=1)(surrogate, X, torch.zeros(N, dtype=torch.int64), seeds=SEEDS)
