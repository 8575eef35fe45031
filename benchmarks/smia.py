"""SMIA beside BIM and PGD: accuracy, roughness of the perturbation, steadiness of its course.

    python benchmarks/smia.py data=dermamnist model=resnet18 eps=1/255 data.limit_test=500
    python benchmarks/smia.py

Arguments are those of `evaluate`, whose trained victim and test images are attacked; without
any, a small network that is trained here in a few seconds on noisy patterns. Columns are those of
SMIA's tables 1 and 6: Var is the variance of the perturbation divided by eps, Cos the share of
consecutive steps with a positive cosine.
"""

import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from medrobust.attack.bim import BIM
from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.loss import per_image
from medrobust.attack.pgd import PGD
from medrobust.attack.smia import SMIA
from medrobust.evaluation import build
from medrobust.metric.perturbation import Course, variance
from medrobust.model.core.victim import Victim
from medrobust.number import fraction
from medrobust.resolvers import register
from medrobust.rng import sample_seeds
from medrobust.threat.surrogate import VictimSurrogate

STEPS = 10
BATCH = 100


def main() -> None:
    """Attack and print one table."""
    victim, images, labels, eps, name = from_config(sys.argv[1:]) if sys.argv[1:] else toy()
    attacks: dict[str, Iterated] = {
        "BIM": BIM(eps, steps=STEPS),
        "PGD": PGD(eps, steps=STEPS),
    }
    for through in (False, True):
        for alpha in (0.75, 1.0, 1.25):
            key = f"SMIA alpha {alpha}" + (", gradient through smoothed" if through else "")
            attacks[key] = SMIA(eps, steps=STEPS, alpha=alpha, through_smoothed=through)
    title = f"{name}, {len(images)} images, eps {eps * 255:.3g}/255, {STEPS} steps"
    table = Table(title=title)
    for column in ("attack", "accuracy", "Var", "Cos"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    with torch.no_grad():
        clean = right(victim, images, labels).mean()
        table.add_row("clean", f"{clean:.1%}", "", "")
        for key, attack in attacks.items():
            table.add_row(key, *measure(attack, victim, images, labels, eps))
    Console(width=100).print(table)


def measure(
    attack: Iterated, victim: Victim, images: Tensor, labels: Tensor, eps: float
) -> tuple[str, str, str]:
    """Accuracy, Var and Cos."""
    rows = []
    for at in range(0, len(images), BATCH):
        x, y = images[at : at + BATCH], labels[at : at + BATCH]
        seeds = sample_seeds(0, [str(at + i) for i in range(len(x))], x.device)
        course = Course(len(x))
        with attack.watched(course):
            found = attack(VictimSurrogate(victim), x, y, seeds=seeds)
        cosine = (course.alike / course.pairs).double().to(x.device)
        rows.append(torch.stack([right(victim, found, y), variance(x, found, eps), cosine]))
    accuracy, rough, cosine = torch.cat(rows, dim=1).nanmean(dim=1).tolist()
    return f"{accuracy:.1%}", f"{rough:.3f}", f"{cosine:.1%}"


def right(victim: Victim, images: Tensor, labels: Tensor) -> Tensor:
    """1 where the victim is right (N,), over pixels if it segments."""
    return per_image((victim(images).argmax(1) == labels).double())


def from_config(overrides: list[str]) -> tuple[Victim, Tensor, Tensor, float, str]:
    """Victim, images, labels, eps and a name, from what `evaluate` would be called with."""
    register()
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
        config = compose("evaluate", overrides=overrides)
    data, clean = build.data_and_images(config)
    device, _ = build.devices_of(config.trainer)
    victim = build.victim_of(config, data, "medrobust train (same data and model)", device)
    images, labels = clean.images.to(device), clean.labels.to(device)
    name = f"{data.name}{' PHANTOM' if data.phantom else ''}, {config.model.name}"
    return victim, images, labels, fraction(config.eps, "eps"), name


def toy() -> tuple[Victim, Tensor, Tensor, float, str]:
    """Three smooth patterns under noise, and a convnet that tells them apart."""
    torch.manual_seed(0)
    axis = torch.linspace(0, 3.14, 16)
    patterns = torch.stack([torch.outer(axis.sin(), (k * axis).cos()) for k in (1, 2, 3)])

    def draw(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(3, (count,))
        noise = 0.16 * torch.randn(count, 3, 16, 16)
        return (0.5 + 0.06 * patterns[labels][:, None] + noise).clamp(0, 1), labels

    network = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(4)),
        *(nn.Flatten(), nn.Linear(128, 3)),
    )
    victim = Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture={})
    optimizer = torch.optim.Adam(victim.parameters(), lr=3e-3)
    for _ in range(150):
        images, labels = draw(64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(victim(images), labels).backward()
        optimizer.step()
    return victim.freeze(), *draw(300), 3 / 255, "toy"


if __name__ == "__main__":
    main()
