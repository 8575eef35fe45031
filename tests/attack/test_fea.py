"""Feature matching as an attack: `conf/attack/fea.yaml`."""

import copy
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from medrobust.attack.core.target import Target
from medrobust.attack.loss.feature_match import FeatureMatch
from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.attack.target.next_class import NextClass
from medrobust.defense.median import Median
from medrobust.model.core.victim import Victim
from medrobust.threat.defended import DefendedSurrogate
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from tests.support.toys import ToyData

CONF = str(Path(__file__).parents[2] / "conf")


def fitted(
    surrogate: Surrogate,
    images: Tensor,
    labels: Tensor,
    eps: float | str = "16/255",
    target: Target | None = None,
    nearest: bool = False,
) -> PGD:
    attack = PGD(eps, steps=20, loss=FeatureMatch(nearest=nearest), target=target)
    attack.fit(surrogate, ToyData(images[60:], labels[60:]))
    return attack


def distance(attack: PGD, surrogate: Surrogate, x: Tensor, found: Tensor, *rest: Tensor) -> Tensor:
    with torch.no_grad():
        bound = attack.loss.bind(surrogate, x, *rest, targeted=attack.target is not None)
        return -bound.away(surrogate(found, rest[1], bound.taps), rest[0])


@pytest.mark.parametrize("target", [None, NextClass()])
def test_it_fools_by_way_of_the_features(
    target: Target | None, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, s = images[:60], labels[:60], seeds[:60]
    attack = fitted(surrogate, images, labels, target=target)
    plain = PGD("16/255", steps=20, target=target)
    found, usual = (a(surrogate, x, y, seeds=s) for a in (attack, plain))
    wanted = (y + 1) % 3 if target else y
    with torch.no_grad():
        answer = surrogate.victim(found).argmax(1)
    fooled = answer == wanted if target else answer != wanted
    assert fooled.float().mean() > 0.9
    clean, ours, theirs = (
        distance(attack, surrogate, x, z, wanted, s).mean() for z in (x, found, usual)
    )
    assert ours < 0.5 * clean
    assert ours < 0.7 * theirs


def test_linear_features_are_reached_exactly() -> None:
    """Fewer features than pixels and a ball that holds a solution: the distance falls to zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.Linear(5, 3))
    victim = Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture={}).double().freeze()
    surrogate = VictimSurrogate(victim)
    train = torch.rand(60, 3, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        labels = victim(train).argmax(1)
    x, y, seeds = train[:10] * 0.5 + 0.25, labels[:10], torch.arange(10)
    attack = PGDL2(4.0, steps=300, step_size=0.02, loss=FeatureMatch())
    attack.fit(surrogate, ToyData(train[10:], labels[10:]))
    found = attack(surrogate, x, y, seeds=seeds)
    before, after = (distance(attack, surrogate, x, z, y, seeds) for z in (x, found))
    assert (after < 1e-3 * before).all()
    assert before.min() > 0.01


@pytest.mark.parametrize("nearest", [False, True])
def test_batch_and_order_change_nothing(
    nearest: bool, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    surrogate = VictimSurrogate(copy.deepcopy(victim).double())
    attack = fitted(surrogate, images, labels, nearest=nearest)
    x, y, s = images[:9].double(), labels[:9], seeds[:9]
    whole = attack(surrogate, x, y, seeds=s)
    order = torch.tensor([4, 0, 8])
    part = attack(surrogate, x[order], y[order], seeds=s[order])
    torch.testing.assert_close(whole[order], part, atol=1e-9, rtol=0)
    assert torch.equal(whole, attack(surrogate, x, y, seeds=s))


def test_a_nearer_guide_is_matched_more_closely(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, s = images[:60], labels[:60], seeds[:60]
    left = []
    for nearest in (False, True):
        attack = fitted(surrogate, images, labels, eps="3/255", nearest=nearest)
        found = attack(surrogate, x, y, seeds=s)
        left.append(distance(attack, surrogate, x, found, y, s).mean())
    assert left[1] < 0.8 * left[0]


def test_through_a_defense(victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor) -> None:
    surrogate = DefendedSurrogate(victim, Median())
    x, y, s = images[:30], labels[:30], seeds[:30]
    attack = fitted(surrogate, images, labels)
    found = attack(surrogate, x, y, seeds=s)
    before, after = (distance(attack, surrogate, x, z, y, s).mean() for z in (x, found))
    assert after < 0.7 * before


def test_unfitted_attacks_say_so(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attack = PGD("8/255", steps=2, loss=FeatureMatch())
    assert attack.learns
    with pytest.raises(RuntimeError, match=r"call attack\.fit\(surrogate, data\) first"):
        attack(surrogate, images[:2], labels[:2], seeds=seeds[:2])


def test_config() -> None:
    overrides = ["+attack=fea", "attack/target=next_class", "attack.loss.nearest=true"]
    with initialize_config_dir(CONF, version_base="1.3"):
        attack = instantiate(compose(overrides=overrides).attack)
    assert isinstance(attack, PGD)
    assert isinstance(attack.loss, FeatureMatch)
    assert isinstance(attack.target, NextClass)
    assert (attack.eps, attack.steps, attack.loss.nearest) == (8 / 255, 100, True)
