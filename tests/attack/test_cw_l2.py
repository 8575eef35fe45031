"""CW-L2: near the plane, the peers' distances, and none of their faults.

Defaults of the peers that differ: torchattacks c = 1, no search, 50 steps; foolbox and adv_lib c =
0.001, 9 stages, 10000 steps; all three stop a whole batch at once, and give the box all of tanh's
range but 1e-6.
"""

import copy

import pytest
import torch
from torch import Tensor

from medrobust.attack.core.norm import distance
from medrobust.attack.cw_l2 import CWL2
from medrobust.attack.loss.margin import lead
from medrobust.attack.target.next_class import NextClass
from medrobust.model.core.victim import Victim
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.kinds import slow_unless
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

COUNT = 30
FIXED = {"steps": 100, "binary_search_steps": 1, "initial_const": 1.0, "abort_early": False}
SEARCH = {"steps": 50, "binary_search_steps": 4, "initial_const": 0.05, "abort_early": False}


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
    attack = CWL2(steps=200, binary_search_steps=6, initial_const=0.01)
    found = attack(surrogate, x, y, seeds=torch.arange(len(x)))
    assert fooled(surrogate.victim, found, y).all()
    ratio = distance(x, found, "l2") / away
    assert ratio.min() >= 1 - 1e-9
    assert ratio.max() < 1.02


def peer(library: str, victim: Victim, x: Tensor, y: Tensor, settings: dict[str, float]) -> Tensor:
    stages, c, steps = (settings[k] for k in ("binary_search_steps", "initial_const", "steps"))
    if library == "foolbox":
        attack = pytest.importorskip("foolbox").attacks.L2CarliniWagnerAttack(
            binary_search_steps=stages, initial_const=c, steps=steps, abort_early=False
        )
        return foolbox(attack, victim, x, y)
    pytest.importorskip("adv_lib")
    found: Tensor = adv_lib().carlini_wagner_l2(
        victim,
        x,
        y,
        binary_search_steps=stages,
        initial_const=c,
        max_iterations=steps,
        abort_early=False,
    )
    return found.detach()


@pytest.mark.parametrize(
    ("library", "settings"),
    [
        slow_unless(False, "foolbox", FIXED, id="foolbox-fixed"),
        slow_unless(True, "foolbox", SEARCH, id="foolbox-search"),
        slow_unless(True, "adv_lib", FIXED, id="adv_lib-fixed"),
        slow_unless(False, "adv_lib", SEARCH, id="adv_lib-search"),
    ],
)
def test_the_peers_distances(
    library: str,
    settings: dict[str, float],
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    """Within 2 % in the median and 10 % for nine images of ten: tanh's range is not the same."""
    found = CWL2(**settings)(VictimSurrogate(victim), images, labels, seeds=seeds)  # type: ignore[arg-type]
    other = peer(library, victim, images, labels, settings)
    assert fooled(victim, found, labels).all()
    assert fooled(victim, other, labels).all()
    ratio = distance(images, found, "l2") / distance(images, other, "l2")
    assert ratio.median() == pytest.approx(1, abs=0.02)
    assert ((ratio - 1).abs() < 0.1).float().mean() > 0.9


def test_black_pixels_move(victim: Victim, images: Tensor, seeds: Tensor) -> None:
    """A black frame over half of the image, where other implementations leave it black."""
    x = bordered(images)
    y = victim(x).argmax(1)
    found = CWL2(**FIXED)(VictimSurrogate(victim), x, y, seeds=seeds)  # type: ignore[arg-type]
    other = peer("adv_lib", victim, x, y, FIXED)
    black = x == 0
    assert black.float().mean() > 0.5
    assert (found[black] > 0.01).float().mean() > 0.1 > (other[black] > 0.01).float().mean()
    assert fooled(victim, found, y).all()
    assert median(x, found, "l2") < 0.95 * median(x, other, "l2")


@pytest.mark.parametrize("confidence", [slow_unless(False, 0.0), 1.5])
def test_shifted_logits_change_nothing(
    confidence: float, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """torchattacks finds nothing once all logits are 20 lower."""
    attack = CWL2(**SEARCH, confidence=confidence)  # type: ignore[arg-type]
    x, found = images[:10].double(), []
    for shift in (0.0, -20.0):
        low = copy.deepcopy(victim).double()
        low.network = Changed(low.network, shift=shift).eval()
        found.append(attack(VictimSurrogate(low), x, labels[:10], seeds=seeds[:10]))
    assert (found[0] != x).flatten(1).any(1).all()
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)


def test_saturated_logits(victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor) -> None:
    """A margin ten thousand times as large needs a c as much smaller."""
    loud = copy.deepcopy(victim)
    loud.network = Changed(loud.network, 1e4).eval()
    found = [
        CWL2(steps=60, binary_search_steps=3, initial_const=c, abort_early=False)(
            surrogate, images, labels, seeds=seeds
        )
        for surrogate, c in ((VictimSurrogate(victim), 0.5), (VictimSurrogate(loud), 0.5e-4))
    ]
    assert fooled(victim, found[1], labels).all()
    away = [median(images, part, "l2") for part in found]
    assert away[1] == pytest.approx(away[0], rel=0.01)


def test_confidence_is_kept(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    sure = CWL2(**SEARCH, confidence=1.5)(surrogate, images, labels, seeds=seeds)  # type: ignore[arg-type]
    margin = -lead(surrogate.victim(sure), labels)
    assert margin.min() >= 1.5 - 1e-4
    assert margin.median() < 2.5
    plain = CWL2(**SEARCH)(surrogate, images, labels, seeds=seeds)  # type: ignore[arg-type]
    assert median(images, plain, "l2") < median(images, sure, "l2")


def test_targeted(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attack = CWL2(**SEARCH, confidence=0.5, target=NextClass())  # type: ignore[arg-type]
    found = attack(surrogate, images, labels, seeds=seeds)
    goal = (labels + 1) % 3
    assert lead(surrogate.victim(found), goal).min() >= 0.5 - 1e-4


@pytest.mark.slow
def test_the_search_helps_and_starts_anywhere(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, s = images[:15], labels[:15], seeds[:15]
    away = {}
    for c in (1e-3, 10.0):
        for stages in (1, 7):
            attack = CWL2(steps=60, initial_const=c, binary_search_steps=stages, abort_early=False)
            found = attack(surrogate, x, y, seeds=s)
            missed = ~fooled(surrogate.victim, found, y)
            away[c, stages] = distance(x, found, "l2").masked_fill(missed, torch.inf).median()
    assert away[1e-3, 1] == torch.inf
    assert away[1e-3, 7] < 0.95 * away[10.0, 1]
    assert away[10.0, 7] < 0.95 * away[10.0, 1]


@pytest.mark.slow
def test_who_makes_no_progress_stops(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """Fewer passes for the same distances, and each image stops at a time of its own."""
    x, y, s = images[:32], labels[:32], seeds[:32]
    sizes: list[int] = []
    handle = surrogate.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    whole, early = (
        CWL2(steps=300, binary_search_steps=1, initial_const=1.0, abort_early=abort)
        for abort in (False, True)
    )
    all_steps = whole(surrogate, x, y, seeds=s)
    full, sizes[:] = sum(sizes), []
    found = early(surrogate, x, y, seeds=s)
    handle.remove()
    assert sum(sizes) < 0.9 * full
    assert len(set(sizes)) > 1
    near, nearest = (float(distance(x, one, "l2").mean()) for one in (found, all_steps))
    assert near == pytest.approx(nearest, rel=0.02)
    one = early(surrogate, x[:1], y[:1], seeds=s[:1])
    torch.testing.assert_close(one, found[:1], rtol=0, atol=1e-3)


@pytest.mark.parametrize(("steps", "stages"), [(30, 3), slow_unless(False, 110, 1)])
def test_alone_as_in_a_batch(steps: int, stages: int, row_surrogate: VictimSurrogate) -> None:
    attack = CWL2(steps=steps, binary_search_steps=stages, initial_const=0.1)
    assert same_alone_and_in_a_batch(attack, row_surrogate)


def test_reduced_precision_claims_no_false_success(
    victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    exact = VictimSurrogate(copy.deepcopy(victim).accelerate())
    attack = CWL2(steps=40, binary_search_steps=1, initial_const=1.0)
    found = attack(ReducedPrecision(exact), images, labels, seeds=seeds)
    assert fooled(exact.victim, found, labels).all()


def test_masks(pixel_surrogate: VictimSurrogate) -> None:
    x = torch.rand(3, 3, 10, 14, generator=torch.Generator().manual_seed(8))
    y = pixel_surrogate.victim(x).argmax(1)
    attack = CWL2(steps=60, binary_search_steps=5, initial_const=1.0)
    found = attack(pixel_surrogate, x, y, seeds=torch.arange(3))
    wrong = (pixel_surrogate.victim(found).argmax(1) != y).float().mean()
    assert 0.1 < wrong < 0.7  # just past a Jaccard index of one half


def test_configs() -> None:
    assert configured("+attack=cw_l2").fingerprint == CWL2(steps=1000).fingerprint
    column = configured("+attack=mdda/cw_l2")
    assert column.fingerprint == CWL2(**FIXED).fingerprint  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"lr": 0},
        {"initial_const": 0},
        {"binary_search_steps": 0},
        {"confidence": -1},
        {"eps": -0.1},
    ],
)
def test_bad_input(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"attack\.{next(iter(bad))}="):
        CWL2(**{"steps": 5} | bad)  # type: ignore[arg-type]
