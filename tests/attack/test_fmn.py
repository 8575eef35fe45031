"""FMN: converges on a plane in both norms, follows adv_lib where nothing is cut, passes borders.

Defaults of the peers that differ: adv_lib takes 10 steps, foolbox 100. Both forget to leave a
perturbation alone that is shorter than the radius in L2: adv_lib stretches it, and foolbox does
not project at all (it returns perturbations of length 1), so that in L2 only adv_lib is compared.
"""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from medrobust.attack.core.norm import distance
from medrobust.attack.fmn import FMN
from medrobust.attack.target.next_class import NextClass
from medrobust.model.core.victim import Victim
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.nearest import (
    Changed,
    bordered,
    configured,
    foolbox,
    fooled,
    median,
    plane,
    same_alone_and_in_a_batch,
)
from tests.support.peers import adv_lib

NORMS = pytest.mark.parametrize("norm", ["l2", "linf"])
COUNT = 40


@pytest.fixture(name="images")
def fewer_images(images: Tensor) -> Tensor:
    return images[:COUNT]


@pytest.fixture(name="labels")
def predicted(victim: Victim, images: Tensor) -> Tensor:
    return victim(images).argmax(1)


@pytest.fixture(name="seeds")
def fewer_seeds(seeds: Tensor) -> Tensor:
    return seeds[:COUNT]


@NORMS
def test_converges_on_a_plane(norm: str) -> None:
    surrogate, x, y, away = plane(norm)
    found = FMN(steps=200, norm=norm)(surrogate, x, y, seeds=torch.arange(len(x)))
    assert fooled(surrogate.victim, found, y).all()
    ratio = distance(x, found, norm) / away
    assert ratio.min() >= 1 - 1e-9
    assert ratio.max() < 1.005


def adv_lib_fmn(victim: Victim, x: Tensor, y: Tensor, norm: str) -> Tensor:
    order: Any = 2 if norm == "l2" else math.inf
    return adv_lib().fmn(victim, x, y, norm=order, steps=40).detach()


@pytest.mark.by_default("bordered-l2", "bordered-linf", "plain-linf")
@NORMS
@pytest.mark.parametrize("framed", [False, True], ids=["plain", "bordered"])
def test_no_farther_and_no_fewer_than_adv_lib(
    norm: str, framed: bool, victim: Victim, images: Tensor, seeds: Tensor
) -> None:
    pytest.importorskip("adv_lib")
    x = bordered(images) if framed else images
    y = victim(x).argmax(1)
    found = FMN(steps=40, norm=norm)(VictimSurrogate(victim), x, y, seeds=seeds)
    other = adv_lib_fmn(victim, x, y, norm)
    both = fooled(victim, other, y)
    assert fooled(victim, found, y).all()
    ours, theirs = distance(x, found, norm)[both], distance(x, other, norm)[both]
    assert (ours > 1.02 * theirs).sum() <= 0.1 * len(ours)
    if norm == "l2" and framed:
        assert both.float().mean() < 0.8  # what the free gradient is for
    else:
        assert ours.median() <= 1.005 * theirs.median()
    if norm == "linf":
        assert (ours / theirs - 1).abs().median() < 0.005  # the same attack, not a stronger one


def test_no_farther_than_foolbox_in_linf(
    victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attacks = pytest.importorskip("foolbox").attacks
    found = FMN(steps=40, norm="linf")(VictimSurrogate(victim), images, labels, seeds=seeds)
    other = foolbox(attacks.LInfFMNAttack(steps=40), victim, images, labels)
    assert median(images, found, "linf") <= 1.005 * median(images, other, "linf")


@NORMS
def test_targeted(norm: str, surrogate: VictimSurrogate, images: Tensor, labels: Tensor) -> None:
    attack = FMN(steps=40, norm=norm, target=NextClass())
    found = attack(surrogate, images, labels, seeds=torch.arange(COUNT))
    assert torch.equal(surrogate.victim(found).argmax(1), (labels + 1) % 3)


@NORMS
def test_scale_and_shift_of_the_logits_change_nothing(
    norm: str, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attack = FMN(steps=30, norm=norm)
    plain = attack(VictimSurrogate(victim), images, labels, seeds=seeds)
    for scale, shift in ((1e4, 0.0), (1.0, -20.0)):
        loud = copy.deepcopy(victim)
        loud.network = Changed(loud.network, scale, shift).eval()
        found = attack(VictimSurrogate(loud), images, labels, seeds=seeds)
        assert fooled(victim, found, labels).float().mean() > 0.97
        assert median(images, found, norm) == pytest.approx(median(images, plain, norm), rel=1e-3)


@NORMS
def test_alone_as_in_a_batch(norm: str, row_surrogate: VictimSurrogate) -> None:
    assert same_alone_and_in_a_batch(FMN(steps=15, norm=norm), row_surrogate)


@NORMS
def test_reduced_precision_claims_no_false_success(
    norm: str, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    exact = VictimSurrogate(copy.deepcopy(victim).accelerate())
    found = FMN(steps=20, norm=norm)(ReducedPrecision(exact), images, labels, seeds=seeds)
    assert fooled(exact.victim, found, labels).float().mean() > 0.95
    plain = FMN(steps=20, norm=norm)(exact, images, labels, seeds=seeds)
    assert median(images, found, norm) == pytest.approx(median(images, plain, norm), rel=0.05)


@NORMS
def test_masks(norm: str, pixel_surrogate: VictimSurrogate) -> None:
    x = torch.rand(4, 3, 10, 14, generator=torch.Generator().manual_seed(8))
    y = pixel_surrogate.victim(x).argmax(1)
    found = FMN(steps=60, norm=norm)(pixel_surrogate, x, y, seeds=torch.arange(4))
    wrong = (pixel_surrogate.victim(found).argmax(1) != y).float().mean()
    assert 0.1 < wrong < 0.7  # just past a Jaccard index of one half


def test_config() -> None:
    assert configured("+attack=fmn").fingerprint == FMN(steps=100).fingerprint
    attack = configured("+attack=fmn", "attack.norm=linf", "attack.eps=8/255")
    assert (attack.norm, attack.eps) == ("linf", 8 / 255)


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"gamma": 1.0}, {"gamma": 0}, {"step_size": 0}, {"norm": "l0"}]
)
def test_bad_input(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"attack\.{next(iter(bad))}="):
        FMN(**{"steps": 5} | bad)  # type: ignore[arg-type]
