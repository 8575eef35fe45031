"""Query attacks on systems that answer anew each time: no luck with one answer ends a search."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.core.base import AttackError
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.norm import distance
from medrobust.attack.core.query import CERTAIN, Oracle, QueryAttack
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.hopskipjump import HopSkipJump
from medrobust.attack.loss.margin import Margin
from medrobust.attack.nes import NES
from medrobust.attack.rays import RayS
from medrobust.attack.spsa import SPSA
from medrobust.attack.square import Square
from medrobust.defense.core.base import Purifier
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.rng import normal, sample_seeds
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.oblivious import Oblivious
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import Surrogate

SIZE, COUNT, QUERIES = 6, 24, 700
EPS = 1.2 / 108  # L∞; the score moves by 108 * EPS at most
MARGIN, SPREAD = 0.6, 0.3  # of the clean images' score, and of the noise on it


class Half(nn.Module):
    """Class 1 where w . (x - 1/2) > 0, w = +-1 in patches that a sign search can find."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.ones(3, SIZE, SIZE)
        self.weight[:, :, SIZE // 2 :] = -1

    def forward(self, x: Tensor) -> Tensor:
        # Row by row: the same bits in any batch.
        score = ((x - 0.5) * self.weight).flatten(1).sum(1)
        return torch.stack([-score, score], dim=1)


class Shaken(Purifier):
    """Noise along w: of the score, and Gaussian with a known spread."""

    random = True

    def __init__(self, spread: float = SPREAD) -> None:
        super().__init__()
        self.spread = spread

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        weight = Half().weight
        along = self.spread * normal(seeds, torch.Size([1])).view(-1, 1, 1, 1)
        return x + along * weight / weight.numel()


@pytest.fixture(scope="module")
def half() -> Victim:
    return Victim(Half(), mean=[0.0] * 3, std=[1.0] * 3, architecture={}).freeze()


@pytest.fixture(scope="module")
def x() -> Tensor:
    """All of class 1, at the same margin."""
    weight = Half().weight
    noise = torch.rand(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) - 0.5
    noise -= weight * (noise * weight).flatten(1).sum(1).view(-1, 1, 1, 1) / weight.numel()
    return 0.5 + 0.4 * noise + MARGIN * weight / weight.numel()


@pytest.fixture(scope="module")
def y() -> Tensor:
    return torch.ones(COUNT, dtype=torch.int64)


@pytest.fixture(scope="module")
def seeds() -> Tensor:
    return sample_seeds(0, [str(i) for i in range(COUNT)])


def phi(z: Tensor) -> Tensor:
    """Of the standard normal distribution."""
    return (1 + torch.erf(z / math.sqrt(2))) / 2


def fooled(victim: Victim, x: Tensor) -> float:
    """The share of a shaken system's answers that are class 0: a closed form, no dice."""
    score = victim(x)[:, 1].double()
    return float(phi(-score / SPREAD).mean())


ATTACKS: dict[str, tuple[float, Callable[..., QueryAttack]]] = {
    "square": (1.15, lambda q, **more: Square(EPS, queries=q, **more)),
    "nes": (2.0, lambda q, **more: NES(EPS, steps=q // 49, samples=24, step_size=EPS / 4, **more)),
    "spsa": (2.0, lambda q, **more: SPSA(EPS, steps=q // 49, samples=24, lr=EPS / 4, **more)),
    "rays": (2.0, lambda q, **more: RayS(EPS, queries=q, **more)),
    "hopskipjump": (2.0, lambda q, **more: HopSkipJump(EPS, queries=q, norm="linf", **more)),
}
"""Minimum gain in strength of each attack over judging success from a single response."""


def shaken(half: Victim, attack: QueryAttack) -> Surrogate:
    return BlackBox("labels" if attack.hard_label else "scores")(half, Shaken())


@pytest.mark.by_default("hopskipjump", "nes", "spsa")
@pytest.mark.parametrize("name", ATTACKS)
def test_luck_ends_no_search(half: Victim, x: Tensor, y: Tensor, seeds: Tensor, name: str) -> None:
    """Of the gain that the best perturbation has, against a search that takes luck for success."""
    times, make = ATTACKS[name]
    attack, best = make(QUERIES), x - EPS * half.network.weight
    before, bound = fooled(half, x), fooled(half, best)
    assert before == pytest.approx(0.02275, abs=1e-4)  # Phi(-2): the margin is two spreads
    assert bound == pytest.approx(0.97725, abs=1e-4)
    hasty = shaken(half, attack)
    hasty.random = False
    gain = []
    for surrogate in (shaken(half, attack), hasty):
        made = attack.craft(surrogate, x, y, seeds=seeds)
        assert distance(x, made.images, "linf").max() <= EPS + 1e-7
        assert made.queries is not None
        assert made.queries.max() <= attack.queries
        gain.append((fooled(half, made.images) - before) / (bound - before))
    assert gain[0] > times * gain[1]
    assert gain[0] > 0.14


def test_more_queries_come_nearer_to_the_best(
    half: Victim, x: Tensor, y: Tensor, seeds: Tensor
) -> None:
    def share(steps: int) -> float:
        attack = SPSA(EPS, steps=steps, samples=28, lr=EPS / 4)
        return fooled(half, attack(shaken(half, attack), x, y, seeds=seeds))

    few, many = share(6), share(50)
    assert few < 0.3
    assert many > 0.7


@pytest.mark.by_default("hopskipjump", "spsa")
@pytest.mark.parametrize("name", ATTACKS)
def test_batch_and_chunk_change_no_bit(
    half: Victim, x: Tensor, y: Tensor, seeds: Tensor, name: str
) -> None:
    x, y, seeds = x[:3], y[:3], seeds[:3]
    make = ATTACKS[name][1]
    whole = make(150).craft(shaken(half, make(150)), x, y, seeds=seeds)
    small = make(150, chunk=5)
    parts = [
        small.craft(shaken(half, small), x[i : i + 2], y[i : i + 2], seeds=seeds[i : i + 2])
        for i in (0, 2)
    ]
    assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
    assert whole.queries is not None
    assert whole.queries.tolist() == [int(q) for part in parts for q in part.queries.tolist()]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["rays", "hopskipjump"])
def test_a_system_that_is_not_random_is_asked_once(
    half: Victim, x: Tensor, y: Tensor, seeds: Tensor, name: str
) -> None:
    make = ATTACKS[name][1]
    surrogate = BlackBox("labels")(half, NoDefense())
    one, five = (make(QUERIES, repeats=k).craft(surrogate, x, y, seeds=seeds) for k in (1, 5))
    assert torch.equal(one.images, five.images)
    assert torch.equal(one.queries, five.queries)  # type: ignore[arg-type]
    assert (half(one.images).argmax(1) == 0).any()


class Edge(nn.Module):
    """Right on grey images, undefined on all others."""

    def forward(self, x: Tensor) -> Tensor:
        grey = (x == 0.5).flatten(1).all(1)
        return torch.stack([-grey.float(), grey.float()], dim=1) / grey[:, None]


class Still(Purifier):
    random = True

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("name", ["square", "nes", "spsa"])
def test_nan_on_the_way_is_reported(y: Tensor, seeds: Tensor, name: str) -> None:
    victim = Victim(Edge(), mean=[0.0] * 3, std=[1.0] * 3, architecture={}).freeze()
    grey = torch.full((4, 3, SIZE, SIZE), 0.5)
    with pytest.raises(AttackError, match=r"the loss is NaN for images \[0, 1, 2, 3\]"):
        ATTACKS[name][1](150)(BlackBox()(victim, Still()), grey, y[:4], seeds=seeds[:4])


class Script(Surrogate):
    """Says for each query about an image, in turn, whether it reaches the goal."""

    fingerprint = "script"
    random = True

    def __init__(self, answers: dict[float, str]) -> None:
        super().__init__()
        self.answers = {image: list(told) for image, told in answers.items()}

    def forward(self, x: Tensor, seeds: Tensor, taps: object = ()) -> Any:
        raise AssertionError("an oracle asks for values only")

    def _value(self, x: Tensor, goal: Goal, *, seeds: Tensor) -> tuple[Tensor, Tensor]:
        told = [self.answers[round(image, 2)].pop(0) for image in x.flatten(1)[:, 0].tolist()]
        return torch.arange(len(x)).float(), torch.tensor([word == "y" for word in told])


def test_a_sure_success_is_one_of_every_answer_within_the_budget() -> None:
    told = {0.1: "yyy", 0.2: "yyn", 0.3: "n", 0.4: "yn", 0.5: "yy"}
    x = torch.tensor(list(told)).view(5, 1, 1, 1)
    goal = Goal(Margin(), Misclassified(), torch.zeros(5, dtype=torch.int64))
    surrogate = Script({0.5: "nnn" + told[0.5]} | {k: v for k, v in told.items() if k < 0.5})
    oracle = Oracle(surrogate, x, goal, torch.arange(5), budget=5, chunk=2, repeats=3)
    spent = torch.tensor([4])
    for _ in range(3):
        oracle.query(spent, x[spent])  # two are left, and three would be needed
    loss, reached = oracle.sure(torch.arange(5), x)
    assert reached.tolist() == [True, False, False, False, False]  # the last: not asked to the end
    assert oracle.asked.tolist() == [3, 3, 1, 2, 5]
    assert loss.tolist() == [0, 1, 0, 1, 0]  # of the first answers
    assert not any(surrogate.answers.values())


def test_a_search_ends_when_thirty_answers_agree() -> None:
    assert CERTAIN == 30
    told = {0.1: 29 * "y", 0.2: "ynyyyyy", 0.3: "", 0.4: 29 * "y"}
    x = torch.tensor(list(told)).view(4, 1, 1, 1)
    goal = Goal(Margin(), Misclassified(), torch.zeros(4, dtype=torch.int64))
    surrogate = Script(told | {0.4: 3 * "n" + told[0.4]})
    oracle = Oracle(surrogate, x, goal, torch.arange(4), budget=31, chunk=3)
    spent = torch.tensor([3])
    for _ in range(3):
        oracle.query(spent, x[spent])
    done = oracle.done(torch.arange(4), x, torch.tensor([True, True, False, True]))
    assert done.tolist() == [True, False, False, False]
    assert oracle.asked[:3].tolist() == [29, 3, 0]  # in groups of 1, 2, 4, 8 and 14
    assert oracle.asked[3] <= 31
    surrogate.random = False
    oracle = Oracle(surrogate, x, goal, torch.arange(4), budget=30, chunk=3)
    assert oracle.done(torch.arange(4), x, torch.tensor([True, True, False, True])).sum() == 3
    assert oracle.asked.sum() == 0


def test_who_is_random(half: Victim) -> None:
    adaptive = Adaptive(eot_samples=1)(half, Shaken())
    for surrogate in (adaptive, BlackBox()(half, Shaken()), ReducedPrecision(adaptive)):
        assert surrogate.random
    for threat in (Adaptive(eot_samples=3), BlackBox(), Oblivious()):
        assert not threat(half, NoDefense()).random
    assert not Oblivious()(half, Shaken()).random


@pytest.mark.parametrize("kind", [RayS, HopSkipJump])
def test_bad_answers_are_refused(kind: type[QueryAttack]) -> None:
    with pytest.raises(ValueError, match=r"attack\.repeats=0 is out of range; expected at least 1"):
        kind(EPS, queries=10, repeats=0)


def test_a_budget_that_ends_with_the_clean_image(
    half: Victim, x: Tensor, y: Tensor, seeds: Tensor
) -> None:
    """Or with thirty answers, before the search begins."""
    always = torch.zeros_like(y)  # nearly every answer is the goal's
    for make in ATTACKS.values():
        attack = make[1](51)
        made = attack.craft(shaken(half, attack), x, always, seeds=seeds)
        assert made.queries is not None
        assert made.queries.max() <= attack.queries
        settled = made.queries == CERTAIN
        assert settled.float().mean() > 0.3  # 0.977^30 = 0.50
        assert torch.equal(made.images[settled], x[settled])
        assert distance(x, made.images, "linf").max() <= EPS + 1e-7
