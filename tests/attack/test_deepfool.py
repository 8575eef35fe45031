"""DeepFool: exact on a plane, equal to the peers where nothing is cut, and past the boundary.

Defaults of the peers that differ: foolbox and adv_lib add 1e-4 to every distance, in L∞ too
(ours 1e-5); adv_lib takes 100 steps and all classes; torchattacks overshoots without that addition
and works in a loop over the images.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.core.base import AttackError
from medrobust.attack.core.norm import distance
from medrobust.attack.deepfool import DeepFool
from medrobust.attack.target.next_class import NextClass
from medrobust.model.core.victim import Victim
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

NORMS = pytest.mark.parametrize("norm", ["l2", "linf"])
COUNT = 60


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
def test_one_step_reaches_a_plane(norm: str) -> None:
    surrogate, x, y, away = plane(norm)
    found = DeepFool(steps=1, norm=norm)(surrogate, x, y, seeds=torch.arange(len(x)))
    assert fooled(surrogate.victim, found, y).all()
    torch.testing.assert_close(distance(x, found, norm), 1.02 * (away + 1e-5), rtol=1e-9, atol=0)


@NORMS
def test_the_nearest_of_several_planes(norm: str) -> None:
    """Three affine classes: the least of the distances to both others."""
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(3, 90, generator=generator, dtype=torch.float64)
    network = nn.Sequential(nn.Flatten(), nn.Linear(90, 3, dtype=torch.float64))
    network[1].weight.data, network[1].bias.data = weight, -0.5 * weight.sum(1)
    surrogate = raw(network)
    x = 0.45 + 0.1 * torch.rand(20, 3, 6, 5, generator=generator, dtype=torch.float64)
    logits = surrogate.victim(x)
    y = logits.argmax(1)
    order = 2 if norm == "l2" else 1
    slopes = (weight[:, None] - weight[None]).norm(p=order, dim=2)[y]
    away = ((logits.gather(1, y[:, None]) - logits) / slopes).nan_to_num(nan=math.inf).amin(1)
    found = DeepFool(norm=norm, overshoot=0)(surrogate, x, y, seeds=torch.arange(20))
    torch.testing.assert_close(distance(x, found, norm), away, rtol=0, atol=2e-5)


def theirs(norm: str, library: str) -> Callable[[Victim, Tensor, Tensor], Tensor]:
    if library == "foolbox":
        module = pytest.importorskip("foolbox").attacks
        kind = module.L2DeepFoolAttack if norm == "l2" else module.LinfDeepFoolAttack
        return lambda victim, x, y: foolbox(kind(), victim, x, y)
    pytest.importorskip("adv_lib")
    order: Any = 2 if norm == "l2" else math.inf
    return lambda victim, x, y: adv_lib().df(victim, x, y, steps=50, norm=order).detach()


@NORMS
@pytest.mark.parametrize("library", ["foolbox", "adv_lib"])
@pytest.mark.parametrize("framed", [False, True], ids=["plain", "bordered"])
def test_the_peers_images(
    norm: str, library: str, framed: bool, victim: Victim, images: Tensor, seeds: Tensor
) -> None:
    """Image by image, up to the peers' addition of 1e-4 per step."""
    x = bordered(images) if framed else images
    y = victim(x).argmax(1)
    found = DeepFool(norm=norm)(VictimSurrogate(victim), x, y, seeds=seeds)
    other = theirs(norm, library)(victim, x, y)
    assert fooled(victim, found, y).all()
    assert median(x, found, norm) <= median(x, other, norm)
    apart = (distance(x, found, norm) - distance(x, other, norm)).abs()
    assert (apart < 1e-3).float().mean() > 0.9


@pytest.mark.slow
def test_crosses_what_torchattacks_only_nears(
    victim: Victim, images: Tensor, seeds: Tensor
) -> None:
    """Cut at a black border its steps shrink with the gap; ours end beyond the boundary."""
    library = pytest.importorskip("torchattacks")
    x = bordered(images)[:30]
    y = victim(x).argmax(1)
    other = library.DeepFool(victim, steps=50)(x, y).detach()
    found = DeepFool(steps=50)(VictimSurrogate(victim), x, y, seeds=seeds[:30])
    assert fooled(victim, found, y).all()
    assert median(x, found, "l2") <= 1.001 * median(x, other, "l2")


class Framed(nn.Module):
    """A plane whose normal lies almost wholly in black pixels, and would make them blacker."""

    def __init__(self) -> None:
        super().__init__()
        strength = torch.full((3, 6, 5), -1.0)
        strength[:, 3, 2] = 0.25
        self.w = nn.Parameter((strength / strength.norm()).flatten())

    def forward(self, x: Tensor) -> Tensor:
        gap = (x.flatten(1) * self.w).sum(1) - 0.06
        return torch.stack([torch.zeros_like(gap), gap], dim=1)


@NORMS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_gradient_that_points_out_of_the_box(norm: str, dtype: torch.dtype) -> None:
    """Three pixels of ninety can move; they hold 0.2 % of the squared gradient."""
    network = Framed().to(dtype)
    surrogate = raw(network)
    x = torch.zeros(4, 3, 6, 5, dtype=dtype)
    x[:, :, 3, 2] = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=dtype).view(-1, 1)
    y = torch.zeros(4, dtype=torch.int64)
    assert not fooled(surrogate.victim, x, y).any()
    found = DeepFool(norm=norm)(surrogate, x, y, seeds=torch.arange(4))
    assert fooled(surrogate.victim, found, y).all()
    w = network.w.view(3, 6, 5)[:, 3, 2].double()
    gap = -surrogate.victim(x)[:, 1].double()
    nearest = gap / (w.norm() if norm == "l2" else w.sum())
    torch.testing.assert_close(distance(x, found, norm), nearest, rtol=0.03, atol=0)


@NORMS
def test_saturated_logits_change_nothing(
    norm: str, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    plain = DeepFool(norm=norm)(VictimSurrogate(victim), images, labels, seeds=seeds)
    for scale, shift in ((1e4, 0.0), (1.0, -20.0)):
        loud = copy.deepcopy(victim)
        loud.network = Changed(loud.network, scale, shift).eval()
        found = DeepFool(norm=norm)(VictimSurrogate(loud), images, labels, seeds=seeds)
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-4)


def test_few_candidates_cost_less_and_lose_distance(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    gradients: list[int] = []

    class Counted(VictimSurrogate):
        def _logits_and_grads(
            self, x: Tensor, weights: Tensor, *, seeds: Tensor
        ) -> tuple[Tensor, Tensor]:
            gradients.append(weights.shape[0] * weights.shape[1])
            return super()._logits_and_grads(x, weights, seeds=seeds)

    found, cost = {}, {}
    for count in (None, 3, 2):
        gradients.clear()
        counted = Counted(surrogate.victim)
        found[count] = DeepFool(candidates=count)(counted, images, labels, seeds=seeds)
        cost[count] = sum(gradients)
        assert fooled(surrogate.victim, found[count], labels).all()
    assert torch.equal(found[None], found[3])
    assert cost[2] < 0.6 * cost[3]
    far = {count: distance(images, made, "l2").mean() for count, made in found.items()}
    assert far[3] < far[2]


def test_who_is_done_leaves(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """Never more images in a step than in the one before, and few steps for the mean image."""
    sizes: list[int] = []
    handle = surrogate.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    DeepFool()(surrogate, images, labels, seeds=seeds)
    handle.remove()
    judged = sizes[3::2]  # after the clean batch, one image for its classes, and a gradient
    assert judged == sorted(judged, reverse=True)
    assert judged[0] == COUNT > judged[-1]
    assert sum(sizes) < 8 * COUNT


@NORMS
def test_alone_as_in_a_batch(norm: str, row_surrogate: VictimSurrogate) -> None:
    assert same_alone_and_in_a_batch(DeepFool(norm=norm), row_surrogate)


@NORMS
def test_bfloat16(norm: str, victim: Victim, images: Tensor, seeds: Tensor) -> None:
    """Steps below the spacing of bfloat16 add up until they are not."""
    surrogate = VictimSurrogate(copy.deepcopy(victim).bfloat16())
    x = images.bfloat16()
    y = surrogate.victim(x).argmax(1)
    found = DeepFool(norm=norm)(surrogate, x, y, seeds=seeds)
    assert fooled(surrogate.victim, found, y).all()


def test_budget(surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor) -> None:
    free = DeepFool()(surrogate, images, labels, seeds=seeds)
    near = distance(images, free, "l2") <= 0.3
    found = DeepFool(0.3)(surrogate, images, labels, seeds=seeds)
    assert torch.equal(found[near], free[near])
    assert 0 < near.sum() < COUNT
    assert distance(images, found, "l2")[~near] == pytest.approx(0.3, abs=1e-5)


def test_no_way_out_is_left_alone(images: Tensor, seeds: Tensor) -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x.flatten(1)[:, :3] + torch.tensor([1.0, 0.0, 0.0])

    y = torch.zeros(COUNT, dtype=torch.int64)
    found = DeepFool(steps=3)(raw(Flat()), images, y, seeds=seeds)
    assert torch.equal(found, images)


def test_config() -> None:
    attack = configured("+attack=deepfool")
    assert isinstance(attack, DeepFool)
    assert attack.fingerprint == DeepFool().fingerprint
    assert configured("+attack=deepfool", "attack.norm=linf").norm == "linf"


def test_bad_input(pixel_surrogate: VictimSurrogate) -> None:
    with pytest.raises(ValueError, match=r"attack\.target=NextClass: DeepFool .* no target"):
        DeepFool(target=NextClass())
    with pytest.raises(ValueError, match=r"attack\.norm='l1', expected linf or l2"):
        DeepFool(norm="l1")
    for bad in ({"steps": 0}, {"candidates": 1}, {"overshoot": -0.1}, {"eps": 2.0, "norm": "linf"}):
        with pytest.raises(ValueError, match=rf"attack\.{next(iter(bad))}="):
            DeepFool(**bad)  # type: ignore[arg-type]
    y = torch.zeros(2, 6, 6, dtype=torch.int64)
    with pytest.raises(AttackError, match="one label per image"):
        DeepFool()(pixel_surrogate, torch.rand(2, 3, 6, 6), y, seeds=torch.arange(2))
