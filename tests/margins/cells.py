"""Compares the same cells across this machine's instruction sets and with two threads.

    PYTHONPATH=src:. python -m tests.margins.cells CHECKPOINT DATA [--images 200]

CHECKPOINT is a victim of `train.py data=dermamnist data.phantom=true`, DATA the folder of its data.
Every setting gets the same weights and the same images, and runs in a process of its own. The table
shows how far each is from the best instruction set: the clean logits, the adversarial images, the
logits before those images of the reference, and in how many images right and wrong change places.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medrobust.attack.apgd_ce import APGDCE
from medrobust.attack.autoattack import AutoAttack
from medrobust.attack.core.base import Attack
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.deepfool import DeepFool
from medrobust.attack.fgsm import FGSM
from medrobust.attack.pgd import PGD
from medrobust.data.medmnist import MedMNIST
from medrobust.defense.core.base import Defense
from medrobust.defense.jpeg import JPEG
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import SaltPepperNoise
from medrobust.defense.none import NoDefense
from medrobust.model.core.checkpoint import load_victim
from medrobust.rng import sample_seeds
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.oblivious import Oblivious
from tests.margins.settings import further, instruction_sets

EPS, BARE = "2/255", "0.5/255"  # a defended victim takes more
HEAD = (
    "| cell | clean logits (of the largest) | images apart | largest | mean | accuracy {best} "
    "| {name} | images that flip |\n|---|---|---|---|---|---|---|---|"
)
TRAIN = "medrobust train data=dermamnist data.phantom=true model=resnet18"


def cells() -> Iterator[tuple[str, Attack, Defense, Any]]:
    """Yield name, attack, defense and threat of each cell."""
    attacks: list[Attack] = [
        FGSM(BARE),
        PGD(BARE, steps=20),
        CWLinf(BARE, steps=20),
        APGDCE(BARE, steps=20),
        AutoAttack(BARE, steps=20, targets=3, queries=200),
        DeepFool(),
    ]
    for attack in attacks:
        yield type(attack).__name__, attack, NoDefense(), Oblivious()
    for defense in (JPEG(75), Median(3), MedRDF(SaltPepperNoise(0.1), Median(3), copies=50)):
        for threat in (Oblivious(), Adaptive(8)):
            name = f"PGD, {type(defense).__name__}, {type(threat).__name__.lower()}"
            yield name, PGD(EPS, steps=20), defense, threat


def measure(checkpoint: Path, images: Path, result: Path) -> None:
    """Run every cell under this process's setting and save what came out."""
    victim = load_victim(checkpoint, train_command=TRAIN).accelerate()
    x, y = torch.load(images)
    seeds = sample_seeds(0, [f"image/{i}" for i in range(len(x))])
    found: dict[str, dict[str, Tensor]] = {}
    for name, attack, defense, threat in cells():
        made = attack(threat(victim, defense), x, y, seeds=seeds)
        with torch.no_grad():
            clean, after = defense(x, victim, seeds=seeds), defense(made, victim, seeds=seeds)
        right = after.label == y
        if after.abstain is not None:
            right &= ~after.abstain
        found[name] = {"made": made, "clean": clean.logits, "after": after.logits, "right": right}
    torch.save(found, result)


def compare(name: str, reference: dict[str, Tensor], other: dict[str, Tensor]) -> str:
    """Return a line of the table."""
    logits = (reference["clean"] - other["clean"]).abs().max().item()
    scale = reference["clean"].abs().max().item()
    apart = (reference["made"] - other["made"]).abs()
    images = (apart.flatten(1).amax(1) > 1e-6).float().mean().item()
    flips = int((reference["right"] != other["right"]).sum())
    rates = [part["right"].float().mean().item() for part in (reference, other)]
    return (
        f"| {name} | {logits:.1e} ({logits / scale:.0e}) | {images:.1%} | {apart.max():.4f} | "
        f"{apart.mean():.1e} | {rates[0]:.3f} | {rates[1]:.3f} | {flips} |"
    )


def main() -> None:
    """Draw the images, run the settings, print a table of each."""
    parser = argparse.ArgumentParser(prog="python -m tests.margins.cells", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=200)
    options = parser.parse_args()
    data = MedMNIST(options.data, options.data / "manifests", name="dermamnist", phantom=True)
    samples = [data.dataset("test")[i] for i in range(options.images)]
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.pt"
        both = [torch.stack([torch.as_tensor(one) for one in part]) for part in _parts(samples)]
        torch.save(both, images)
        results = {}
        settings = {**instruction_sets(), "2 threads": further()["2 threads"]}
        for name, environment in settings.items():
            results[name] = Path(folder) / f"{name}.pt"
            call = f"measure(Path({str(options.checkpoint)!r}), Path({str(images)!r}), "
            code = f"from tests.margins.cells import *; {call}Path({str(results[name])!r}))"
            subprocess.run(
                [sys.executable, "-c", code], env={**os.environ, **environment}, check=True
            )
        found = {name: torch.load(path) for name, path in results.items()}
    best = list(instruction_sets())[-1]
    for name in found:
        if name != best:
            print(f"\n{name} against {best}, {options.images} images\n")
            print(HEAD.format(best=best, name=name))
            for cell, tensors in found[best].items():
                print(compare(cell, tensors, found[name][cell]))


def _parts(samples: list[Any]) -> tuple[list[Any], list[Any]]:
    return [one.image for one in samples], [one.label for one in samples]


if __name__ == "__main__":
    main()
