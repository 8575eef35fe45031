"""The gradient's cosine with the deployed system's: closed forms on linear victims."""

import math

import pytest
import torch
from torch import Tensor

from medrobust.attack.cw_l2 import CWL2
from medrobust.attack.fgsm import FGSM
from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.defense.core.base import Defense, StraightThroughPurifier
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.evaluation.gradient_cosine import (
    DIRECTIONS,
    defended,
    deviation,
    gradient_cosines,
    gradient_cosines_once,
)
from medrobust.model.core.conv import SMALLEST_BATCH
from medrobust.rng import sample_seeds
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from tests.support.helpers import linear_victim
from tests.support.toys import Noise

pytestmark = pytest.mark.usefixtures("all_directions")

N, SIZE = 16, 16
D = 3 * SIZE * SIZE
ATTACK = PGD(eps="8/255", steps=2)
SEEDS = sample_seeds(0, [str(i) for i in range(N)])
VICTIM = linear_victim(size=SIZE, classes=2)


class Exact(StraightThroughPurifier):
    """Changes nothing, and its stand-in is exact."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return x


class Opposite(Exact):
    def stand_in(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return -x


class Shuffled(Exact):
    """Its derivative is that of other pixels."""

    def stand_in(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        order = torch.randperm(D, generator=torch.Generator().manual_seed(0))
        return x.flatten(1)[:, order].view_as(x)


class Constant(Exact):
    """The deployed system answers the same to every image."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return torch.full_like(x, 0.5)


def images(low: float = 0.3, high: float = 0.7) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(N, 3, SIZE, SIZE, generator=generator)


def cosines(defense: Defense, x: Tensor | None = None, attack=ATTACK, **more) -> Tensor:
    x = images() if x is None else x
    surrogate = Adaptive(**more)(VICTIM, defense)
    return gradient_cosines(surrogate, attack, x, torch.zeros(N, dtype=torch.int64), SEEDS)


@pytest.mark.parametrize("attack", [ATTACK, PGDL2(eps=1.0, steps=2), CWL2(steps=2)])
def test_an_exact_gradient_has_the_cosine_that_the_directions_allow(attack) -> None:
    found = cosines(Exact(), attack=attack)
    plain = found.mean() * math.sqrt(DIRECTIONS / (DIRECTIONS + D - 1))
    assert plain == pytest.approx(math.sqrt(DIRECTIONS / (DIRECTIONS + D)), rel=0.05)
    assert found.mean() == pytest.approx(1.0, abs=0.05)


def test_an_opposite_gradient_is_negative() -> None:
    assert torch.allclose(cosines(Opposite()), -cosines(Exact()))


def test_an_unrelated_gradient_has_the_deviation_that_is_stated() -> None:
    found = cosines(Shuffled())
    assert found.mean().abs() < 3 * deviation(D) / math.sqrt(N)
    assert found.std() == pytest.approx(deviation(D), rel=0.4)


def test_pixels_at_the_border_move_one_way_only() -> None:
    """Black and white pixels: the difference is of half the way, and so is the gradient's share."""
    edge = (images(0, 1) > 0.5).float()
    assert cosines(Exact(), edge).mean() == pytest.approx(1.0, abs=0.05)
    half = images()
    half[:, :, :, ::2] = edge[:, :, :, ::2]
    assert cosines(Exact(), half).mean() == pytest.approx(1.0, abs=0.05)


def test_without_a_gradient_there_is_no_cosine() -> None:
    assert cosines(Constant()).isnan().all()


@pytest.mark.parametrize("defense", [Exact(), Noise()], ids=["fixed", "random"])
def test_any_batch_gives_the_same_digits_and_other_seeds_others(defense: Defense) -> None:
    surrogate, x, y = Adaptive(3)(VICTIM, defense), images(), torch.zeros(N, dtype=torch.int64)
    whole = gradient_cosines(surrogate, ATTACK, x, y, SEEDS)
    for rows in (slice(0, 1), slice(3, 9)):
        part = gradient_cosines(surrogate, ATTACK, x[rows], y[rows], SEEDS[rows])
        assert torch.equal(part, whole[rows])
    other = gradient_cosines(surrogate, ATTACK, x, y, SEEDS + 1)
    assert not torch.equal(other, whole)


def test_a_random_defense_answers_both_sides_with_one_draw() -> None:
    """On a linear victim the noise then cancels: with separate draws it would drown the slope."""
    assert torch.allclose(cosines(Noise(), eot_samples=2), cosines(Exact()), atol=1e-3)


@pytest.mark.parametrize(
    "defense", [Exact(), MedRDF(GaussianNoise(0.1), Median(), copies=50)], ids=["plain", "vote"]
)
def test_the_cost_is_what_is_stated(defense: Defense) -> None:
    passed: list[int] = []
    handle = VICTIM.network.register_forward_hook(lambda _, x, __: passed.append(len(x[0])))
    try:
        cosines(defense, eot_samples=4)
    finally:
        handle.remove()
    gradient = SMALLEST_BATCH  # to which 1 image, or its 4 draws, are filled up
    assert sum(passed) == N * (2 * DIRECTIONS + gradient)


def test_attacks_of_one_budget_share_it_and_whatever_matters_is_measured_anew() -> None:
    surrogate, x = Adaptive()(linear_victim(size=SIZE, classes=2), Exact()), images()[:4]
    y, passed = torch.zeros(4, dtype=torch.int64), list[int]()
    surrogate.victim.network.register_forward_hook(lambda _, x, __: passed.append(len(x[0])))

    def measured(attack=ATTACK, x=x, seeds=SEEDS[:4], **more: Tensor) -> int:
        """Passes that are new; the digits are those of a measurement of its own."""
        given = (surrogate, attack, x, more.get("y", y), seeds)
        before = len(passed)
        found = gradient_cosines_once(*given)
        new = len(passed) - before
        assert torch.equal(found, gradient_cosines(*given))
        return new

    assert measured()
    assert not measured()
    assert not measured(FGSM(eps="8/255"))
    assert measured(PGD(eps="4/255", steps=2))
    assert measured(PGDL2(eps=1.0, steps=2))
    assert measured(x=x[:2], seeds=SEEDS[:2], y=y[:2])
    assert measured(y=1 - y)
    assert measured(seeds=SEEDS[4:8])
    with torch.no_grad():
        next(surrogate.victim.parameters()).mul_(-1)
    assert measured()


def test_only_a_defended_surrogate_is_compared() -> None:
    surrogate = Adaptive()(VICTIM, Exact())
    assert defended(surrogate) is surrogate
    assert defended(ReducedPrecision(surrogate)) is surrogate
    bare: Surrogate = VictimSurrogate(VICTIM)
    assert defended(bare) is None
    with pytest.raises(TypeError, match="VictimSurrogate has no defense"):
        gradient_cosines(bare, ATTACK, images(), torch.zeros(N, dtype=torch.int64), SEEDS)
