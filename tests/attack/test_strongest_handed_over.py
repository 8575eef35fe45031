"""Strongest where images are rounded, purifiers change the shape, or nothing can attack."""

import pytest
import torch
from torch import Tensor

import medrobust
from medrobust.attack.core.base import AttackError
from medrobust.attack.core.plan import EFFORTS, Effort
from medrobust.attack.pgd import PGD
from medrobust.attack.strongest import Strongest
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Purifier, StandInError, StraightThroughPurifier
from medrobust.defense.jpeg import JPEG
from medrobust.evaluation.adversarial import AdversarialSet, adversarial_set
from medrobust.evaluation.batches.runner import Runner
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import VictimSurrogate

LITTLE = Effort(steps=8, restarts=1, targets=1, ranks=1, queries=60, searches=1, draws=4)


@pytest.fixture(autouse=True)
def little_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EFFORTS, "small", LITTLE)


def made_of(
    surrogate: VictimSurrogate, clean: ImageSet, eps: str, tmp_path: object, *, quantize: bool
) -> AdversarialSet:
    seen = Adaptive()(surrogate.victim, JPEG(50))
    runner = Runner(torch.device("cpu"), 16, TensorCache(str(tmp_path)))
    attack = Strongest(eps, effort="small")
    return adversarial_set(seen, attack, clean, runner, seed=0, quantize=quantize)


def wrong(surrogate: VictimSurrogate, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        seeds = torch.arange(len(images))
        return JPEG(50)(images, surrogate.victim, seeds=seeds).label != labels


@pytest.mark.parametrize("eps", ["3.9/255"])
def test_an_image_that_rounding_saves_is_attacked_on(
    eps: str, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, tmp_path: object
) -> None:
    x = (images[:24] * 255).round() / 255
    made = made_of(surrogate, ImageSet.of((x, labels[:24])), eps, tmp_path, quantize=True)
    grid = made.images.images * 255
    assert (grid - grid.round()).abs().max() < 1e-4
    assert made.member is not None
    fooled = wrong(surrogate, made.images.images, labels[:24])
    assert torch.equal(made.member >= 0, fooled)
    assert fooled.any()
    # Whole levels of the same ball are what is left of it.
    levels = f"{int(float(eps.split('/')[0]))}/255"
    whole = made_of(surrogate, made.images.with_images(x), levels, tmp_path, quantize=False)
    most = wrong(surrogate, whole.images.images, labels[:24]).sum()
    assert fooled.sum() >= 0.6 * most


class Crop(Purifier):
    """Cuts the edge off, without a word on stand-ins."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return x[..., 1:-1, 1:-1]


class Doubled(StraightThroughPurifier):
    """Enlarges and rounds the image; the identity is no stand-in for it."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return (x.repeat_interleave(2, dim=3) * 16).round() / 16


class Dot(StraightThroughPurifier):
    """Leaves one pixel, to which an image could be added."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return (x.mean((2, 3), keepdim=True) * 16).round() / 16


class Pooled(torch.nn.Module):
    """A network on images of any size."""

    def forward(self, x: Tensor) -> Tensor:
        return 20 * x[..., :3, :3].mean((2, 3)) - 10


def test_a_stand_in_of_another_shape_is_left_out() -> None:
    x = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = Pooled()(Crop().purify(x, seeds=torch.arange(20))).argmax(1)
    row, weaker = (
        medrobust.evaluate(Pooled(), (x, y), attack=attack, defense=Crop(), threat="adaptive")
        for attack in (Strongest("8/255", effort="small"), PGD("8/255", steps=8))
    )
    assert weaker.metrics["accuracy"] < 1
    assert row.metrics["accuracy"] <= weaker.metrics["accuracy"] + 0.15  # they start elsewhere


@pytest.mark.parametrize("defense", [Doubled(), Dot()])
def test_a_default_stand_in_of_another_shape_is_refused(defense: Purifier) -> None:
    x, y = torch.rand(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)
    for attack in (Strongest("8/255", effort="small"), PGD("8/255", steps=2)):
        with pytest.raises(StandInError, match="the stand-in identity answers"):
            medrobust.evaluate(Pooled(), (x, y), attack=attack, defense=defense, threat="adaptive")


@pytest.mark.parametrize("task", ["labels alone in L2", "masks"])
def test_an_ensemble_without_a_member_is_refused(
    task: str, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    masks = torch.zeros(4, *images.shape[2:], dtype=torch.int64)
    y, norm = (masks, "linf") if task == "masks" else (labels[:4], "l2")
    seen = BlackBox("labels")(surrogate.victim, JPEG(50))
    attack = Strongest("4/255", norm=norm, effort="small")
    with pytest.raises(AttackError, match="Strongest has no member for"):
        attack(seen, images[:4], y, seeds=seeds[:4])
