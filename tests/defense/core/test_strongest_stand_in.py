"""The default stand-in is the strongest, within the noise of the same images."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.attack.momentum_pgd import MomentumPGD
from medrobust.defense.core.base import Defense
from medrobust.defense.core.detector import Detector
from medrobust.defense.core.stand_in import stand_ins
from medrobust.model.core.victim import Victim
from medrobust.rng import fold_in, sample_seeds
from medrobust.threat.adaptive import Adaptive
from tests.defense.test_suite import NAMES, build, learns

IMAGES, DRAWS = 60, 4
QUICK = ("bit_depth", "gaussian_smoothing", "median", "wavelet")
"""One config of each cheap kind: rounding, a linear filter, a rank, a threshold."""


def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images of three smooth patterns under noise, and their classes."""
    axis = torch.linspace(0, 3.14, 16)
    patterns = torch.stack([torch.outer(axis.sin(), (k * axis).cos()) for k in (1, 2, 3)])
    labels = torch.randint(3, (count,), generator=generator)
    noise = 0.1 * torch.randn(count, 3, 16, 16, generator=generator)
    x = 0.5 + 0.12 * patterns[labels][:, None] + noise
    return (x.clamp(0, 1) * 255).round() / 255, labels


@cache
def trained() -> Victim:
    """A small convolutional network that tells the patterns apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(4)),
            *(nn.Flatten(), nn.Linear(128, 3)),
        )
    victim = Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture={})
    optimizer = torch.optim.Adam(victim.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(120):
        x, y = draw(64, generator)
        optimizer.zero_grad()
        F.cross_entropy(victim(x), y).backward()
        optimizer.step()
    return victim.freeze()


def compared(name: str) -> bool:
    """Return whether a config answers classes, untrained, and has several stand-ins."""
    defense = build(name)
    votes_on_masks = getattr(defense, "dense", False)
    rejects = isinstance(defense, Detector)
    return not (learns(defense) or rejects or votes_on_masks) and len(stand_ins(defense)) > 1


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in NAMES
        if compared(name)
    ],
)
def test_the_default_is_the_strongest(name: str) -> None:
    victim, defense = trained(), build(name)
    x, y = draw(IMAGES, torch.Generator().manual_seed(2))
    seeds = sample_seeds(0, [str(place) for place in range(IMAGES)])
    draws = DRAWS if defense.random else 1

    def right(images: Tensor) -> Tensor:
        with torch.no_grad():
            answers = [
                defense(images, victim, seeds=fold_in(seeds, 2 + draw)).label == y
                for draw in range(draws)
            ]
        return torch.stack(answers).double().mean(0)

    def left(seen: Defense) -> Tensor:
        surrogate = Adaptive(eot_samples=2)(victim, seen)
        attack = MomentumPGD("7/255", steps=15)
        return right(attack(surrogate, x, y, seeds=fold_in(seeds, 1)))

    default, *others = map(left, stand_ins(defense).values())
    assert default.mean() < right(x).mean() - 0.1
    for other in others:
        change = default - other
        assert change.mean() <= 2 * change.std() / IMAGES**0.5 + 1 / IMAGES
