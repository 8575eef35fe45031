"""What attacks on a box detector cost beside its bare passes, in processor time.

    python benchmarks/boxes.py [--size 128] [--images 16] [--steps 5]

The floor is one forward and one backward pass of the frozen, accelerated RetinaNet of
conf/model/retinanet.yaml for each step, and one forward pass at the end. SMIA looks at two images
from its second step on. Matching anchors, decoding boxes and judging success are the overhead.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack
from medrobust.attack.dag import DAG
from medrobust.attack.pgd import PGD
from medrobust.attack.smia import SMIA
from medrobust.model.core.victim import Victim
from medrobust.model.retinanet import build
from medrobust.rng import sample_seeds
from medrobust.threat.surrogate import VictimSurrogate

CLASSES, BOXES, ROUNDS = 7, 6, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="side of the images in pixels")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    torch.manual_seed(0)
    victim = build(CLASSES, name="retinanet", backbone="resnet18", channels=64, anchor_px=16)
    victim.freeze().accelerate()
    x = torch.rand(given.images, 3, given.size, given.size)
    y = boxes(given.images, given.size)
    seeds = sample_seeds(0, [f"image/{i}" for i in range(len(x))])
    forward = seconds(lambda: victim(x))
    both = seconds(lambda: backward(victim, x))
    print(f"{len(x)} images of {given.size} pixels, {BOXES} boxes each")
    print(f"forward {forward:.3f} s, forward and backward {both:.3f} s")
    one, two = both * given.steps + forward, both * (2 * given.steps - 1) + forward
    attacks: dict[str, tuple[Attack, float]] = {
        "BIM": (BIM(0.01, steps=given.steps), one),
        "PGD": (PGD(0.01, steps=given.steps), one),
        "DAG": (DAG(0.01, steps=given.steps), one),
        "SMIA": (SMIA(0.01, steps=given.steps), two),
    }
    for name, (attack, floor) in attacks.items():
        took = seconds(lambda a=attack: a(VictimSurrogate(victim), x, y, seeds=seeds))  # type: ignore[misc]
        print(f"{name:5} {took:.3f} s, {took / floor:.2f} of the floor")


def boxes(count: int, size: int) -> Tensor:
    """Random true boxes (count, BOXES, 5)."""
    corner = torch.rand(count, BOXES, 2) * 0.6 * size
    side = (0.1 + 0.3 * torch.rand(count, BOXES, 2)) * size
    label = torch.randint(CLASSES, (count, BOXES, 1)).float()
    return torch.cat([label, corner, corner + side], dim=2)


def backward(victim: Victim, x: Tensor) -> None:
    leaf = x.clone().requires_grad_()
    torch.autograd.grad(victim(leaf).sum(), leaf)


def seconds(call: Callable[[], object]) -> float:
    """Median processor time of a few calls, after one that warms up."""
    times = []
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return median(times[1:])


if __name__ == "__main__":
    main()
