"""DDN: converges on a plane, gives the peers' images, and survives what stops a gradient.

Defaults of the peers that differ: adv_lib rounds to 256 levels (ours and foolbox not); both judge
the points before each step only, ours the last one too, and draw a fresh direction whenever a
gradient is zero, ours at the start only.
"""

import copy

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.core.base import AttackError
from medrobust.attack.core.norm import distance
from medrobust.attack.ddn import DDN
from medrobust.attack.loss.margin import Margin
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
    raw,
    same_alone_and_in_a_batch,
)
from tests.support.peers import adv_lib

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


def test_converges_on_a_plane() -> None:
    surrogate, x, y, away = plane("l2")
    found = DDN(steps=300, gamma=0.02)(surrogate, x, y, seeds=torch.arange(len(x)))
    assert fooled(surrogate.victim, found, y).all()
    ratio = distance(x, found, "l2") / away
    assert ratio.min() >= 1 - 1e-9
    assert ratio.max() < 1.02  # the norm moves in steps of 2 %


@pytest.mark.by_default("bordered-adv_lib", "plain-foolbox")
@pytest.mark.parametrize("library", ["foolbox", "adv_lib"])
@pytest.mark.parametrize("framed", [False, True], ids=["plain", "bordered"])
def test_the_peers_images(
    library: str, framed: bool, victim: Victim, images: Tensor, seeds: Tensor
) -> None:
    """The same image, or a nearer one."""
    pytest.importorskip(library)
    x = bordered(images) if framed else images
    y = victim(x).argmax(1)
    if library == "foolbox":
        attack = pytest.importorskip("foolbox").attacks.DDNAttack(steps=40, gamma=0.06)
        other = foolbox(attack, victim, x, y)
    else:
        other = adv_lib().ddn(victim, x, y, steps=40, γ=0.06, levels=None).detach()
    found = DDN(steps=40, gamma=0.06)(VictimSurrogate(victim), x, y, seeds=seeds)
    assert fooled(victim, found, y).all()
    same = (found - other).abs().flatten(1).amax(1) < 1e-4
    nearer = distance(x, found, "l2") <= 1.01 * distance(x, other, "l2")
    assert (same | nearer | ~fooled(victim, other, y)).float().mean() > 0.95
    # At a border half of the best points are the last ones, which adv_lib does not judge.
    assert same.float().mean() > (0.3 if framed and library == "adv_lib" else 0.5)


def test_rounds_to_the_levels_of_the_peer(
    victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    pytest.importorskip("adv_lib")
    x = (images * 15).round() / 15
    y = victim(x).argmax(1)
    found = DDN(steps=30, levels=16)(VictimSurrogate(victim), x, y, seeds=seeds)
    other = adv_lib().ddn(victim, x, y, steps=30, levels=16).detach()
    assert (15 * found - (15 * found).round()).abs().max() < 1e-5
    assert fooled(victim, found, y).float().mean() >= fooled(victim, other, y).float().mean() > 0.9
    assert median(x, found, "l2") <= 1.01 * median(x, other, "l2")


def test_targeted(surrogate: VictimSurrogate, images: Tensor, labels: Tensor) -> None:
    attack = DDN(steps=40, target=NextClass())
    found = attack(surrogate, images, labels, seeds=torch.arange(COUNT))
    assert torch.equal(surrogate.victim(found).argmax(1), (labels + 1) % 3)
    free = DDN(steps=40)(surrogate, images, labels, seeds=torch.arange(COUNT))
    assert median(images, free, "l2") < median(images, found, "l2")


def test_saturated_logits(victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor) -> None:
    """Cross-entropy has no gradient there; the margin finds what it finds on plain logits."""
    plain = DDN(steps=40, loss=Margin())(VictimSurrogate(victim), images, labels, seeds=seeds)
    loud = copy.deepcopy(victim)
    loud.network = Changed(loud.network, 1e4).eval()
    surrogate = VictimSurrogate(loud)
    attack = DDN(steps=40, loss=Margin(1e9))
    found = attack(surrogate, images, labels, seeds=seeds)
    assert fooled(victim, found, labels).all()
    assert median(images, found, "l2") == pytest.approx(median(images, plain, "l2"), rel=0.01)
    lost = DDN(steps=40)(surrogate, images, labels, seeds=seeds)
    assert fooled(victim, lost, labels).float().mean() < 0.9
    assert lost.isfinite().all()


def test_without_a_gradient_it_sets_out_at_random(images: Tensor, seeds: Tensor) -> None:
    """A step function of the distance: only its norm, not its direction, can be learned."""

    class Shell(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            far = ((x - 0.5).flatten(1).square().sum(1) > 0.25).float()
            return torch.stack([1 - far, far], dim=1) + 0 * x.flatten(1)[:, :2]

    x, y = torch.full((6, 3, 12, 12), 0.5), torch.zeros(6, dtype=torch.int64)
    found = DDN(steps=60)(raw(Shell()), x, y, seeds=seeds[:6])
    away = distance(x, found, "l2")
    assert 0.5 < away.min() < away.max() < 0.5 * 1.06
    assert (found[0] - found[1]).abs().max() > 0.01  # each its own direction
    again = DDN(steps=60)(raw(Shell()), x[3:], y[3:], seeds=seeds[3:6])
    assert torch.equal(again, found[3:])


def test_alone_as_in_a_batch(row_surrogate: VictimSurrogate) -> None:
    assert same_alone_and_in_a_batch(DDN(steps=15), row_surrogate)


def test_reduced_precision_claims_no_false_success(
    victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    exact = VictimSurrogate(copy.deepcopy(victim).accelerate())
    found = DDN(steps=20)(ReducedPrecision(exact), images, labels, seeds=seeds)
    assert fooled(exact.victim, found, labels).all()
    plain = DDN(steps=20)(exact, images, labels, seeds=seeds)
    assert median(images, found, "l2") == pytest.approx(median(images, plain, "l2"), rel=0.05)


def test_masks(pixel_surrogate: VictimSurrogate) -> None:
    x = torch.rand(4, 3, 10, 14, generator=torch.Generator().manual_seed(8))
    y = pixel_surrogate.victim(x).argmax(1)
    found = DDN(steps=60)(pixel_surrogate, x, y, seeds=torch.arange(4))
    wrong = (pixel_surrogate.victim(found).argmax(1) != y).float().mean()
    assert 0.1 < wrong < 0.7  # just past a Jaccard index of one half


def test_nan_is_not_a_success(images: Tensor, seeds: Tensor) -> None:
    class Cliff(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            moved = (x - images[: len(x)]).abs().flatten(1).amax(1, keepdim=True) > 0.01
            return torch.where(moved, torch.nan, x.flatten(1)[:, :3].softmax(1))

    y = raw(Cliff()).victim(images).argmax(1)
    with pytest.raises(AttackError, match=r"DDN: loss or gradient is NaN for images \[0, 1"):
        DDN(steps=5)(raw(Cliff()), images, y, seeds=seeds)


def test_config() -> None:
    attack = configured("+attack=ddn")
    assert attack.fingerprint == DDN(steps=100).fingerprint
    assert isinstance(configured("+attack=ddn", "attack/loss=margin").loss, Margin)


@pytest.mark.parametrize(
    "bad", [{"steps": 0}, {"gamma": 1.0}, {"gamma": 0}, {"init_norm": 0}, {"levels": 1}]
)
def test_bad_input(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"attack\.{next(iter(bad))}="):
        DDN(**{"steps": 5} | bad)  # type: ignore[arg-type]
