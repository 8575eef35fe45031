"""What `zo.py` asks about: a trained victim and denoiser, or toys that are trained in seconds."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.defense.denoiser.estimator import CGE
from medrobust.defense.denoiser.zo_ae_ds import ZOAEDS
from medrobust.model.core.victim import Victim


class Setting(NamedTuple):
    """What is asked about.

    Attributes:
        name: of data and model.
        victim: frozen.
        defense: denoiser and autoencoder, frozen.
        images: clean (N, C, H, W) in [0, 1].
    """

    name: str
    victim: Victim
    defense: ZOAEDS
    images: Tensor


def from_config(overrides: list[str]) -> Setting:
    """Load a trained victim and a trained ZO-AE-DS as `medrobust evaluate` would."""
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    from medrobust.defense.core.learned import learners
    from medrobust.evaluation import build
    from medrobust.resolvers import register

    register()
    conf = str(Path(__file__).parents[1] / "conf")
    words = overrides if any(w.startswith("defense=") for w in overrides) else []
    with initialize_config_dir(conf, version_base="1.3"):
        config = compose("evaluate", overrides=words or [*overrides, "defense=zo_ae_ds"])
    data, clean = build.data_and_images(config)
    device, _ = build.devices_of(config.trainer)
    victim = build.victim_of(config, data, "medrobust train (same data and model)", device)
    defense = instantiate(config.defense)
    found = [part for part in learners(defense) if isinstance(part, ZOAEDS)]
    if len(found) != 1:
        raise SystemExit("choose a defense with a ZO-AE-DS denoiser: defense=zo_ae_ds")
    defense.fit(victim, data)
    phantom = " PHANTOM" if data.phantom else ""
    name = f"{data.name} {data.size} px{phantom}, {config.model.name}"
    return Setting(name, victim, found[0].to(device), clean.images.to(device))


def toy() -> Setting:
    """Three smooth patterns under noise, a convnet that tells them apart, an autoencoder."""
    torch.manual_seed(0)
    axis = torch.linspace(0, 3.14, 32)
    patterns = torch.stack([torch.outer(axis.sin(), (k * axis).cos()) for k in (1, 2, 3)])

    def images(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(3, (count,))
        strength = 0.06 * torch.rand(count, 1, 1, 1)
        noise = 0.16 * torch.randn(count, 3, 32, 32)
        return (0.5 + strength * patterns[labels][:, None] + noise).clamp(0, 1), labels

    network = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(4)),
        *(nn.Flatten(), nn.Linear(1024, 3)),
    )
    victim = Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture={})
    defense = ZOAEDS("toy", "nowhere", estimator=CGE(), depth=3, features=8)
    defense.build(3)
    weights = [*victim.parameters(), *defense.parameters()]
    optimizer = torch.optim.Adam(weights, lr=3e-3)
    for _ in range(100):
        x, labels = images(32)
        noisy = (x + defense.sigma * torch.randn_like(x)).clamp(0, 1)
        optimizer.zero_grad()
        loss = F.cross_entropy(victim(x), labels) + defense.warm_loss(noisy, x)
        loss.backward()
        optimizer.step()
    victim.freeze().accelerate()
    defense.eval().requires_grad_(False)
    return Setting("toy patterns 32 px", victim, defense, images(256)[0])
