"""What tests of minimum-norm attacks share: planes at a known distance, borders, comparisons."""

from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from medrobust.attack.core.base import Attack
from medrobust.attack.core.norm import distance
from medrobust.model.core.victim import Victim
from medrobust.threat.surrogate import VictimSurrogate


class Plane(nn.Module):
    """Two classes, logits (0, scale * (w . x + b)) of images (N, 3, 6, 5); ||w||_2 = 1."""

    def __init__(self, scale: float = 20.0, bias: float = -0.2) -> None:
        super().__init__()
        w = torch.randn(90, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.w = nn.Parameter(w / w.norm())
        self.scale, self.bias = scale, bias

    def forward(self, x: Tensor) -> Tensor:
        gap = (x - 0.5).flatten(1) @ self.w + self.bias
        return torch.stack([torch.zeros_like(gap), self.scale * gap], dim=1)


def raw(network: nn.Module, channels: int = 3) -> VictimSurrogate:
    """A surrogate without normalisation, frozen."""
    plain = {"mean": [0.0] * channels, "std": [1.0] * channels}
    return VictimSurrogate(Victim(network, **plain, architecture={}).freeze())


def plane(norm: str, count: int = 20) -> tuple[VictimSurrogate, Tensor, Tensor, Tensor]:
    """Surrogate, float64 images far from black and white, labels, exact distances in `norm`."""
    network = Plane()
    generator = torch.Generator().manual_seed(1)
    x = 0.45 + 0.1 * torch.rand(count, 3, 6, 5, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        logits = network(x)
        away = logits[:, 1].abs() / 20 / (1.0 if norm == "l2" else network.w.abs().sum())
    return raw(network), x, logits.argmax(1), away


class Changed(nn.Module):
    """A network's logits, times `scale`, plus `shift`."""

    def __init__(self, network: nn.Module, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.network, self.scale, self.shift = network, scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.network(x) + self.shift


def bordered(images: Tensor) -> Tensor:
    """With a black frame two pixels wide, over half of a 12 x 12 image."""
    framed = torch.zeros_like(images)
    framed[:, :, 2:-2, 2:-2] = images[:, :, 2:-2, 2:-2]
    return framed


def fooled(victim: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Bool (N,)."""
    with torch.no_grad():
        return victim(images).argmax(1) != labels


def median(x: Tensor, found: Tensor, norm: str) -> float:
    """Median distance of the images that were moved."""
    away = distance(x, found, norm)
    return float(away[away > 0].median())


def same_alone_and_in_a_batch(
    attack: Attack, surrogate: VictimSurrogate, shape: tuple[int, ...] = (3, 6, 5)
) -> bool:
    """Bit by bit, for images of which half are black."""
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(13, *shape, generator=generator)
    x[:, :, : shape[1] // 2] = 0.0
    y, seeds = surrogate.victim(x).argmax(1), torch.arange(13)
    whole = attack(surrogate, x, y, seeds=seeds)
    parts = [
        attack(surrogate, x[rows], y[rows], seeds=seeds[rows])
        for rows in torch.arange(13).split([1, 1, 1, 10])
    ]
    assert (whole != x).flatten(1).any(1).float().mean() > 0.5  # something to compare
    return torch.equal(whole, torch.cat(parts))


def foolbox(attack: Any, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """Images of a minimum-norm attack of foolbox."""
    import foolbox as library

    model = library.PyTorchModel(victim, bounds=(0, 1), device="cpu")
    return attack.run(model, x, y).detach()


def configured(*overrides: str) -> Attack:
    """The attack that these overrides of the config folder build."""
    conf = str(Path(__file__).parents[2] / "conf")
    with initialize_config_dir(conf, version_base="1.3"):
        attack = instantiate(compose(overrides=list(overrides)).attack)
    assert isinstance(attack, Attack)
    return attack
