"""MomentumPGD against a loop written by hand, and against PGD of equal passes."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from medrobust.attack.core.ball import LinfBall
from medrobust.attack.momentum_pgd import MomentumPGD
from medrobust.attack.pgd import PGD
from medrobust.defense.jpeg import JPEG
from medrobust.rng import fold_in
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.surrogate import VictimSurrogate


def test_as_written_by_hand(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    eps, steps, decay = 0.02, 7, 0.6
    attack = MomentumPGD(eps, steps=steps, decay=decay)
    found = attack(surrogate, images, labels, seeds=seeds)
    point = LinfBall(images, eps).draw(fold_in(seeds, 0))
    memory = torch.zeros_like(images)
    best = torch.full((len(images),), -math.inf)
    expected = images.clone()
    for step in range(steps):
        leaf = point.clone().requires_grad_()
        loss = cross_entropy(surrogate.victim(leaf), labels, reduction="sum")
        (grad,) = torch.autograd.grad(loss, leaf)
        memory = decay * memory + grad / grad.abs().sum(dim=(1, 2, 3), keepdim=True)
        size = 2 * eps * (1 + math.cos(math.pi * step / steps)) / 2
        point = torch.clamp(point + size * memory.sign(), images - eps, images + eps).clamp(0, 1)
        with torch.no_grad():
            logits = surrogate.victim(point)
        wrong = logits.argmax(1) != labels
        rank = cross_entropy(logits, labels, reduction="none") + 1e6 * wrong
        better = rank >= best
        best = torch.where(better, rank, best)
        expected[better] = point[better]
    # A gradient that is nearly zero takes its sign from rounding: single pixels may differ.
    assert ((found - expected).abs() > 1e-6).double().mean() < 2e-3


def test_the_step_falls_like_a_cosine() -> None:
    attack = MomentumPGD("8/255", steps=50)
    sizes = [attack.size_at(step) for step in range(50)]
    assert sizes[0] == pytest.approx(16 / 255)
    assert sizes[25] == pytest.approx(8 / 255)
    assert sizes == sorted(sizes, reverse=True)
    assert 0 < sizes[-1] < sizes[0] / 500
    assert MomentumPGD(0.1, steps=4, step_size=0.05).size_at(0) == 0.05


def test_behind_a_purifier_its_loss_is_higher_than_that_of_pgd(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    seen, x, y, seeds = Adaptive()(surrogate.victim, JPEG(75)), images[:60], labels[:60], seeds[:60]
    losses = []
    for attack in (PGD("4/255", steps=25), MomentumPGD("4/255", steps=25)):
        made = attack(seen, x, y, seeds=seeds)
        losses.append(cross_entropy(seen(made, seeds).logits, y).item())
    assert losses[1] > losses[0]


@pytest.mark.parametrize("decay", [-0.1, "x"])
def test_bad_decay(decay: float) -> None:
    with pytest.raises(ValueError, match=r"attack\.decay="):
        MomentumPGD(0.1, steps=2, decay=decay)
