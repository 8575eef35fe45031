"""The strongest attack: passes per image against what they leave, beside AutoAttack and PGD.

    python benchmarks/strongest.py --checkpoint CKPT --npz dermamnist.npz --images 100 --eps 2/255
    python benchmarks/strongest.py … --defense median --efforts small,standard

Passes are images that go forward through the victim, with or without a gradient, whoever asks:
attacks, the judge, and every draw of a randomized defense. The floor is one forward and one
backward pass of the bare accelerated victim; a ratio above one is what judging, purifying and
bookkeeping cost. AutoAttack runs on the bare victim, on the same images: the yardstick of effort.
AutoAttack is cheap where the bare victim hardly withstands, so the last column has the passes of
images that stand to the end, attacked alone.
"""

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from medrobust.attack.autoattack import AutoAttack
from medrobust.attack.core.base import Attack
from medrobust.attack.core.plan import EFFORTS
from medrobust.attack.pgd import PGD
from medrobust.attack.strongest import Strongest
from medrobust.defense.core.base import Defense
from medrobust.model.core.checkpoint import load_victim
from medrobust.model.core.victim import Victim
from medrobust.resolvers import register
from medrobust.rng import fold_in
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.surrogate import Surrogate, VictimSurrogate

CONF = Path(__file__).parents[1] / "conf"
JUDGES = 2**40
"""Seed of the defender's first draw; those of the attacks are small numbers."""


def main() -> None:
    """Measure and print one table."""
    options = arguments()
    torch.set_num_threads(options.threads)
    victim, x, y = subject(options)
    register()
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("evaluate", [f"defense={options.defense}"])
    defense: Defense = instantiate(config.defense).eval()
    bare = VictimSurrogate(victim)
    seen = Adaptive(eot_samples=options.eot)(victim, defense)
    runs: list[tuple[str, Attack, Surrogate]] = [
        ("AutoAttack, bare victim", AutoAttack(options.eps), bare),
        ("PGD-100, adaptive", PGD(options.eps, steps=100), seen),
    ]
    for effort in options.efforts.split(","):
        runs.append((f"strongest {effort}", Strongest(options.eps, effort=effort), seen))
    unit = floor(victim, x, y)
    title = f"{type(defense).__name__}, {len(x)} images, eps {options.eps}"
    table = Table(title=f"{title}; floor {1e3 * unit:.2f} ms per forward and backward pass")
    for name in (
        "attack",
        "left %",
        "passes / image",
        "s / image",
        "time / floor",
        "of a survivor",
    ):
        table.add_column(name, justify="left" if name == "attack" else "right")
    for name, attack, surrogate in runs:
        judge = defense if surrogate is seen else None
        table.add_row(name, *measured(attack, surrogate, victim, judge, (x, y), unit))
        Console(width=110).print(table)


def measured(
    attack: Attack,
    surrogate: Surrogate,
    victim: Victim,
    defense: Defense | None,
    data: tuple[Tensor, Tensor],
    unit: float,
) -> list[str]:
    """Run an attack and return the cells of its row."""
    x, y = data
    seeds = torch.arange(len(x), device=x.device)
    count = [0]
    hook = victim.register_forward_pre_hook(
        lambda _, inputs: count.__setitem__(0, count[0] + len(inputs[0]))
    )
    start = time.perf_counter()
    made = attack(surrogate, x, y, seeds=seeds)
    seconds = (time.perf_counter() - start) / len(x)
    passes = count[0] / len(x)
    right = share_right(victim, defense, made, y)
    survivor = "–"
    if (place := (right == 1).nonzero().flatten()[:3]).numel():
        count[0] = 0
        attack(surrogate, x[place], y[place], seeds=seeds[place])
        survivor = f"{count[0] / len(place):.0f}"
    hook.remove()
    ratio = seconds / (passes * unit)
    left = f"{100 * right.mean():.1f}"
    return [left, f"{passes:.0f}", f"{seconds:.2f}", f"{ratio:.2f}", survivor]


@torch.no_grad()
def share_right(victim: Victim, defense: Defense | None, x: Tensor, y: Tensor) -> Tensor:
    """Return the share of draws in which each image is right, float64 (N,)."""
    if defense is None:
        return (victim(x).argmax(1) == y).double()
    seeds = torch.arange(JUDGES, JUDGES + len(x), device=x.device)
    draws = [
        defense(x, victim, seeds=fold_in(seeds, draw)).label == y
        for draw in range(20 if defense.random else 1)
    ]
    return torch.stack(draws).double().mean(0)


def floor(victim: Victim, x: Tensor, y: Tensor, steps: int = 5) -> float:
    """Return the seconds per image of one forward and backward pass, the best of some."""
    best = float("inf")
    for _ in range(steps):
        start = time.perf_counter()
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(victim(leaf), y, reduction="sum"), leaf)
        best = min(best, (time.perf_counter() - start) / len(x))
    return best


def subject(options: argparse.Namespace) -> tuple[Victim, Tensor, Tensor]:
    """Return the accelerated victim, images (N, C, H, W) and labels (N,)."""
    loaded = load_victim(options.checkpoint, train_command="medrobust train")
    victim = copy.deepcopy(loaded).to(options.device).accelerate()
    with np.load(options.npz) as arrays:
        images = torch.from_numpy(arrays["test_images"][: options.images]).float() / 255
        labels = torch.from_numpy(arrays["test_labels"][: options.images]).long().flatten()
    x = images.movedim(-1, 1).contiguous() if images.ndim == 4 else images.unsqueeze(1)
    return victim, x.to(options.device), labels.to(options.device)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="of medrobust train")
    parser.add_argument("--npz", type=Path, required=True, help="MedMNIST file of test images")
    parser.add_argument("--defense", default="jpeg", help="of conf/defense, without training")
    parser.add_argument("--efforts", default="small,standard", help=", ".join(EFFORTS))
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--eps", default="2/255", help="L∞ radius")
    parser.add_argument("--eot", type=int, default=8, help="draws of a randomized defense")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
