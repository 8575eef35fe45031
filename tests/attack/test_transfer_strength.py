"""What the transfer attacks are for: fooling a network that they never saw."""

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack
from medrobust.attack.dim import DIM
from medrobust.attack.sini_fgsm import SINIFGSM
from medrobust.attack.tim import TIM
from medrobust.attack.vmi_fgsm import VMIFGSM
from medrobust.model.core.victim import Victim
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.kinds import slow_unless

Batch = tuple[Tensor, Tensor, Tensor]
EPS, COUNT = 10 / 255, 100


def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Four bright shapes (3, 20, 20) at random places: disc, ring, two wedges, bar."""
    labels = torch.arange(count) % 4
    axis = torch.linspace(-1, 1, 20)
    centre = torch.rand(count, 2, 1, 1, generator=generator) - 0.5
    dy, dx = axis[:, None] - centre[:, 0], axis - centre[:, 1]
    radius = torch.hypot(dx, dy)
    shapes = torch.stack(
        [
            radius < 0.45,
            (radius < 0.45) & (radius > 0.22),
            (dx.abs() + dy.abs() < 0.5) & (dx * dy > 0),
            (dx.abs() < 0.4) & (dy.abs() < 0.15),
        ],
        dim=1,
    )
    noise = torch.randn(count, 3, 20, 20, generator=generator)
    shown = shapes[torch.arange(count), labels].float()[:, None]
    return (0.4 + 0.15 * shown + 0.05 * noise).clamp(0, 1), labels


def train(network: nn.Sequential, images: Tensor, labels: Tensor, steps: int) -> Victim:
    victim = Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture={})
    optimizer = torch.optim.Adam(victim.parameters(), lr=5e-3)
    for step in range(steps):
        rows = torch.arange(64 * step, 64 * step + 64) % len(images)
        optimizer.zero_grad()
        nn.functional.cross_entropy(victim(images[rows]), labels[rows]).backward()
        optimizer.step()
    return victim.freeze()


@pytest.fixture(scope="module")
def batch() -> Batch:
    images, labels = draw(COUNT, torch.Generator().manual_seed(9))
    return images, labels, torch.arange(COUNT)


def surrogate_network(seed: int) -> nn.Sequential:
    """Bound to places by its last layer."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(600, 4),
    )


def attacked_network() -> nn.Sequential:
    """Other filters, activation and pooling."""
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(3, 12, 5, stride=2, padding=2),
        nn.Tanh(),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(5),
        nn.Flatten(),
        nn.Linear(600, 4),
    )


@pytest.fixture(scope="module")
def victims(batch: Batch) -> list[Victim]:
    """The attacked one, then three that an attacker has, each trained on 200 images of its own."""
    with torch.random.fork_rng(devices=[]):
        found = [
            train(attacked_network(), *draw(9600, torch.Generator().manual_seed(0)), steps=150)
        ]
        for seed in (1, 2, 3):
            own = draw(200, torch.Generator().manual_seed(seed))
            found.append(train(surrogate_network(seed), *own, steps=150))
    images, labels, _ = batch
    for victim in found:
        assert (victim(images).argmax(1) == labels).float().mean() > 0.9
    return found


def transferred(attack: Attack, victims: list[Victim], batch: Batch) -> float:
    """Share of images that fool the attacked network, over all three surrogates."""
    images, labels, seeds = batch
    made = [attack(VictimSurrogate(own), images, labels, seeds=seeds) for own in victims[1:]]
    wrong = [victims[0](found).argmax(1) != labels for found in made]
    return torch.cat(wrong).float().mean().item()


@pytest.fixture(scope="module")
def baseline(victims: list[Victim], batch: Batch) -> float:
    share = transferred(BIM(EPS, steps=10), victims, batch)
    assert 0.2 < share < 0.8  # a comparison that can tell
    return share


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "gain"),
    [
        slow_unless(False, DIM(EPS, steps=10), -0.03, id="dim"),
        slow_unless(True, TIM(EPS, steps=10, kernel_size=5), 0.1, id="tim"),
        slow_unless(False, TIM(EPS, steps=10, kernel_size=5, diversity_prob=0.5), 0.1, id="ti_dim"),
        slow_unless(False, VMIFGSM(EPS, steps=10, neighbours=3), -0.03, id="vmi_fgsm"),
        slow_unless(False, SINIFGSM(EPS, steps=10), -0.03, id="sini_fgsm"),
    ],
)
def test_transfers_no_worse_than_bim(
    attack: Attack,
    gain: float,
    baseline: float,
    victims: list[Victim],
    batch: Batch,
) -> None:
    """Up to noise on toys this small; smoothing gains a lot where places were learnt by heart."""
    share = transferred(attack, victims, batch)
    print(f"{type(attack).__name__} {share:.3f}, BIM {baseline:.3f}")
    assert share >= baseline + gain
