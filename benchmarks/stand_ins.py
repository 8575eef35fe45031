"""Accuracy that attacks leave on each defense, by the derivative that they take for it.

    python benchmarks/stand_ins.py data.root=DIR data.md5=null
    python benchmarks/stand_ins.py data.phantom=true --defenses jpeg:quality=50@6/255,median

Further arguments are overrides of `evaluate`, such as the data. A defense is a config's name, with
other settings behind colons and its own radius behind an @. A small network is trained first, or
read from `--weights`; the images are those of the test split that it classifies correctly. A
trained defense needs its checkpoint (`medrobust train defense=sr` with the same overrides).

Rows are printed as Markdown: the share of images that the deployed defense still classifies
correctly, per attack, and the difference to the default stand-in on the same images with its
standard error. Below zero another stand-in attacks better than the default. A randomized defense
is deployed `--draws` times with other seeds.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from medrobust.attack.momentum_pgd import MomentumPGD
from medrobust.attack.pgd import PGD
from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.defense.core.stand_in import stand_ins
from medrobust.model.core.victim import Victim
from medrobust.resolvers import register
from medrobust.rng import fold_in, sample_seeds
from medrobust.threat.adaptive import Adaptive

CONF = Path(__file__).parents[1] / "conf"
ATTACKS = {"momentum_pgd": MomentumPGD, "pgd": PGD}
DEFENSES = (
    "bit_depth:bits=3,bit_depth:bits=4,bit_clipping:bits=4,jpeg:quality=75,jpeg:quality=50,"
    "median:window=3,median:window=5,wavelet,gaussian_smoothing,tv_minimization,mdda,"
    "medrdf:copies=32"
)


class Left(NamedTuple):
    """Images that are left after an attack.

    Attributes:
        right: share of draws with a correct prediction, (N,).
        other: the same after the attack through the default stand-in.
    """

    right: Tensor
    other: Tensor

    def __str__(self) -> str:
        change = 100 * (self.right - self.other)
        error = change.std() / len(change) ** 0.5
        return f"{100 * self.right.mean():.1f} | {change.mean():+.1f} ± {error:.1f}"


def main() -> None:
    """Measure and print one line per defense and stand-in."""
    options, overrides = arguments()
    register()
    with (
        tempfile.TemporaryDirectory() as folder,
        initialize_config_dir(str(CONF), version_base="1.3"),
    ):
        words = [f"paths.root={folder}", *overrides]
        data: MedicalDataModule = instantiate(compose("evaluate", words).data)
        data.prepare_data()
        data.setup()
        victim = trained(data, options.epochs, options.weights)
        x, y = some(victim, ImageSet.of(data.test_dataloader()), options.images)
        cells = " | ".join(f"{name} | difference" for name in ATTACKS)
        print(f"| defense | ε | clean | stand-in | {cells} |")
        print("|---|---|---|---|" + "---|---|" * len(ATTACKS))
        for entry in options.defenses.split(","):
            name, _, eps = entry.partition("@")
            defense = deployed(name, words, victim, data)
            for line in lines(defense, victim, x, y, eps or options.eps, options):
                print(f"| {name.replace(':', ', ')} | {line}", flush=True)


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """Return the options, and the overrides of `evaluate`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--defenses", default=DEFENSES, help="of conf/defense, comma separated")
    parser.add_argument("--eps", default="4/255", help="L∞ radius")
    parser.add_argument("--steps", type=int, default=40, help="gradient steps")
    parser.add_argument("--images", type=int, default=100, help="correctly classified test images")
    parser.add_argument("--eot", type=int, default=4, help="draws per step")
    parser.add_argument("--draws", type=int, default=4, help="deployed draws per image")
    parser.add_argument("--epochs", type=int, default=5, help="of the victim's training")
    parser.add_argument("--weights", type=Path, help="file of the victim, written if missing")
    return parser.parse_known_args()


def deployed(name: str, words: Sequence[str], victim: Victim, data: MedicalDataModule) -> Defense:
    """Return a config's defense with the settings behind its name, fitted."""
    config, *settings = name.split(":")
    changes = [f"defense.{setting}" for setting in settings]
    defense: Defense = instantiate(
        compose("evaluate", [*words, f"defense={config}", *changes]).defense
    )
    defense.fit(victim, data)
    return defense


def lines(
    defense: Defense, victim: Victim, x: Tensor, y: Tensor, eps: str, options: argparse.Namespace
) -> Iterator[str]:
    """Yield the columns of each stand-in, the default first."""
    seeds = sample_seeds(0, [str(place) for place in range(len(x))])
    draws = options.draws if defense.random else 1

    def right(images: Tensor) -> Tensor:
        with torch.no_grad():
            drawn = [
                defense(images, victim, seeds=fold_in(seeds, 2 + draw)) for draw in range(draws)
            ]
        return torch.stack([(one.label == y).double() for one in drawn]).mean(0)

    clean = f"{100 * right(x).mean():.0f}"
    default: dict[str, Tensor] = {}
    for name, seen in stand_ins(defense).items():
        cells = []
        for key, kind in ATTACKS.items():
            attack = kind(eps, steps=options.steps)
            surrogate = Adaptive(options.eot)(victim, seen)
            left = right(attack(surrogate, x, y, seeds=fold_in(seeds, 1)))
            cells.append(Left(left, default.setdefault(key, left)))
        yield f"{eps} | {clean} | {name} | {' | '.join(map(str, cells))} |"


def some(victim: Victim, test: ImageSet, count: int) -> tuple[Tensor, Tensor]:
    """Return the first test images that the victim classifies correctly, and their labels."""
    with torch.no_grad():
        found = torch.cat([victim(part).argmax(1) for part in test.images.split(200)])
    place = (found == test.labels).nonzero()[:, 0][:count]
    share = (found == test.labels).double().mean()
    print(f"The victim has a test accuracy of {share:.1%}; {len(place)} images are attacked.\n")
    return test.images[place], test.labels[place]


def trained(data: MedicalDataModule, epochs: int, weights: Path | None) -> Victim:
    """Return a small convolutional network, trained on mirrored images."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(*_block(data.channels, 32, 1), *_block(32, 32, 2), *_block(32, 64, 1)),
        *(*_block(64, 64, 2), *_block(64, 128, 1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, data.num_classes)),
    )
    half = [0.5] * data.channels
    victim = Victim(network, mean=half, std=[0.25] * data.channels, architecture={"kind": "cnn"})
    if weights is not None and weights.exists():
        network.load_state_dict(torch.load(weights, weights_only=True))
        return victim.freeze()
    train = ImageSet.of(data.train_dataloader())
    share = train.labels.bincount().double().rsqrt()[train.labels]  # rare classes more often
    steps = epochs * len(train) // 128
    optimizer = torch.optim.AdamW(victim.parameters(), lr=3e-3, weight_decay=1e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    victim.train()
    for step in range(steps):
        place = torch.multinomial(share, 128, replacement=True)
        images = train.images[place].flip([2, 3][step % 2 : step % 2 + step // 2 % 2])
        optimizer.zero_grad()
        nn.functional.cross_entropy(victim(images), train.labels[place]).backward()
        optimizer.step()
        rate.step()
    if weights is not None:
        torch.save(network.state_dict(), weights)
    return victim.freeze()


def _block(before: int, after: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]


if __name__ == "__main__":
    main()
