"""Toys that every attack is tested on: a trained convnet, and models with known arithmetic."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds
from medrobust.threat.surrogate import VictimSurrogate

CLASSES, SIZE, COUNT = 3, 12, 200


def make_victim(network: nn.Module, channels: int = 3) -> Victim:
    return Victim(network, mean=[0.5] * channels, std=[0.25] * channels, architecture={}).freeze()


@pytest.fixture(scope="session")
def wrap() -> Callable[..., VictimSurrogate]:
    """Puts a network behind a victim and the bare surrogate."""
    return lambda network, channels=3: VictimSurrogate(make_victim(network, channels))


def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy images of three smooth patterns: easy when clean, fragile at a few 1/255."""
    labels = torch.arange(count) % CLASSES
    axis = torch.linspace(0, 3.14, SIZE)
    patterns = torch.stack(
        [torch.sin(axis)[:, None] * torch.cos((k + 1) * axis)[None] for k in range(CLASSES)]
    )
    noise = torch.randn(count, 3, SIZE, SIZE, generator=generator)
    return (0.5 + 0.06 * patterns[labels][:, None] + 0.16 * noise).clamp(0, 1), labels


@pytest.fixture(scope="session")
def victim() -> Victim:
    """A small convnet trained on `draw` for a few seconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(1)
        network = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(3),
            nn.Flatten(),
            nn.Linear(128, CLASSES),
        )
        victim = Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture={})
        optimizer = torch.optim.Adam(victim.parameters(), lr=3e-3)
        for _ in range(150):
            images, labels = draw(64, generator)
            optimizer.zero_grad()
            nn.functional.cross_entropy(victim(images), labels).backward()
            optimizer.step()
    victim.zero_grad()
    return victim.freeze()


@pytest.fixture(scope="session")
def surrogate(victim: Victim) -> VictimSurrogate:
    return VictimSurrogate(victim)


@pytest.fixture(scope="session")
def images() -> Tensor:
    """(200, 3, 12, 12)."""
    return draw(COUNT, torch.Generator().manual_seed(2))[0]


@pytest.fixture(scope="session")
def labels() -> Tensor:
    return draw(COUNT, torch.Generator().manual_seed(2))[1]


@pytest.fixture(scope="session")
def seeds() -> Tensor:
    return sample_seeds(0, [f"image/{i}" for i in range(COUNT)])


class RowNet(nn.Module):
    """Two layers whose arithmetic on an image is the same bit by bit in any batch.

    The weights are orthogonal, and what all hidden units share moves no class: whatever the seed,
    each class has its share of the images and can be reached from any other.
    """

    def __init__(self, inputs: int, hidden: int = 16, classes: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        first = torch.randn(inputs, hidden, generator=generator)
        second = torch.randn(hidden, classes, generator=generator)
        self.first = nn.Parameter(torch.linalg.qr(first).Q.T.contiguous())
        second = torch.linalg.qr(second - second.mean(0)).Q.T.contiguous()
        self.second = nn.Parameter(2 * second)

    def forward(self, x: Tensor) -> Tensor:
        hidden = (x.flatten(1).unsqueeze(1) * self.first).sum(2).clamp(min=0)
        return 3 * (hidden.unsqueeze(1) * self.second).sum(2)


@pytest.fixture(scope="session")
def row_surrogate() -> VictimSurrogate:
    """For images (N, 3, 6, 5), four classes."""
    return VictimSurrogate(make_victim(RowNet(3 * 6 * 5)))


class PixelNet(nn.Module):
    """Logits per pixel (N, 3, H, W) for images of any channel count given."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.layers = nn.Sequential(
                nn.Conv2d(channels, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 3, 3, padding=1)
            )

    def forward(self, x: Tensor) -> Tensor:
        return 4 * self.layers(x)


@pytest.fixture(scope="session")
def pixel_surrogate() -> VictimSurrogate:
    return VictimSurrogate(make_victim(PixelNet()))
