"""Attacks against their floor and against other libraries: time, strength, passes, memory.

    python benchmarks/attacks.py [--only PGD,AutoAttack] [--model resnet50 --size 224 --batch 8]
    python benchmarks/attacks.py --checkpoint CKPT --npz dermamnist.npz --images 500 --repeats 1

The floor of an attack is the same number of forward and input-gradient passes of the same plain
float32 model in a bare loop, parameters frozen. Repeats are interleaved: in every round each
attack's floor runs, then each of its implementations, whose times are divided by that floor.
Without a checkpoint the model has random weights, images are random and labelled with the model's
own answers, so that robust accuracy starts at 100 %. Peers get the plain model; rows of medrobust
run on the accelerated one, as evaluations do, where nothing else is said.

Attacks without a fixed number of passes (AutoAttack, DeepFool, FAB-T, Square, SPSA) are divided
by the passes in the column `unit`, the same for all libraries.

On a machine that others use too, `--clock cpu` counts this process's processor time instead of
wall time (set OMP_NUM_THREADS=1, since waiting threads count).
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision
from implementations import Entry, Settings, ours, peers
from memory import peak
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from medrobust.attack.core.norm import distance
from medrobust.model.core.checkpoint import load_victim
from medrobust.model.core.victim import Victim
from medrobust.number import fraction

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    """Measure everything and print one table."""
    options = arguments()
    torch.manual_seed(0)
    victim, x, y = subject(options)
    fast = copy.deepcopy(victim).accelerate()
    batch = options.batch or len(x)
    eps = fraction(options.eps, "--eps")
    settings = Settings(eps, options.l2, options.steps, options.queries, batch)
    entries = [*ours(victim, fast, settings), *peers(victim, settings)]
    names = list(dict.fromkeys(entry.attack for entry in entries))
    chosen = options.only.split(",") if options.only else names
    if unknown := set(chosen) - set(names):
        raise SystemExit(f"--only={','.join(sorted(unknown))}: choose from {','.join(names)}")
    entries = sorted(
        (entry for entry in entries if entry.attack in chosen), key=lambda e: names.index(e.attack)
    )
    if options.libraries:
        kept = tuple(options.libraries.split(","))
        entries = [entry for entry in entries if entry.library.startswith(kept)]

    verdicts = [first_run(victim, fast, entry, x, y) for entry in track(entries, "first runs")]
    ratios: list[list[float]] = [[] for _ in entries]
    clock = CLOCKS[options.clock]
    for _ in track(range(options.repeats), "rounds", disable=not options.repeats):
        attack, bare = "", 0.0
        for entry, found in zip(entries, ratios, strict=True):
            if entry.attack != attack:
                attack = entry.attack
                bare = floor_seconds(victim, x, y, entry.passes, batch, clock)
            found.append(seconds(partial(entry.run, x, y), x.device, clock) / bare)

    what = (options.checkpoint and "trained victim") or options.model
    table = Table(
        title=f"{what}, {tuple(x.shape)}, batch {batch}, eps {options.eps}, L2 {options.l2:g}, "
        f"{options.steps} steps, {x.device.type}, {options.clock} time, {options.repeats} repeats"
    )
    for name in ("attack", "implementation"):
        table.add_column(name)
    for name in ("unit", "ratio to floor", "min", "max", "robust accuracy", "median distance"):
        table.add_column(name, justify="right")
    table.add_column("forward passes / image", justify="right")
    for entry, ratio, (left, away, count) in zip(entries, ratios, verdicts, strict=True):
        times = (statistics.median(ratio), min(ratio), max(ratio)) if ratio else ()
        table.add_row(
            entry.attack,
            entry.library,
            str(entry.passes),
            *([f"{value:.2f}" for value in times] or ["—"] * 3),
            f"{left:.1%}",
            f"{away:.4f} {entry.norm}",
            f"{count:.1f}",
        )
    Console(width=140).print(table)
    if "PGD" in chosen:
        memory(victim, fast, entries, x[:batch], y[:batch])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet18", help="of torchvision, random weights")
    parser.add_argument("--checkpoint", type=Path, help="a victim of medrobust train instead")
    parser.add_argument("--npz", type=Path, help="MedMNIST file whose test images are attacked")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch", type=int, default=0, help="images at once; default all")
    parser.add_argument("--size", type=int, default=28, help="side of random images in pixels")
    parser.add_argument("--steps", type=int, default=20, help="gradient steps")
    parser.add_argument("--queries", type=int, default=500, help="of Square")
    parser.add_argument("--eps", default="8/255", help="L∞ radius")
    parser.add_argument("--l2", type=float, default=0.5, help="L2 radius")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved rounds; 0: no times")
    parser.add_argument("--only", help="attacks, comma separated; default all")
    parser.add_argument("--libraries", help="implementations, comma separated; default all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    return parser.parse_args()


def subject(options: argparse.Namespace) -> tuple[Victim, Tensor, Tensor]:
    """The frozen victim, images (N, C, H, W) and labels (N,)."""
    if (options.checkpoint is None) != (options.npz is None):
        raise SystemExit("--checkpoint and --npz go together")
    victim: Victim
    if options.checkpoint:
        victim = load_victim(options.checkpoint, train_command="medrobust train").to(options.device)
        with np.load(options.npz) as arrays:
            images = torch.from_numpy(arrays["test_images"][: options.images]).float() / 255
            labels = torch.from_numpy(arrays["test_labels"][: options.images]).long().flatten()
        x = images.movedim(-1, 1).contiguous() if images.ndim == 4 else images.unsqueeze(1)
        return victim, x.to(options.device), labels.to(options.device)
    network = torchvision.models.get_model(options.model, weights=None, num_classes=7)
    half = [0.5] * 3
    victim = Victim(network, mean=half, std=half, architecture={}).freeze().to(options.device)
    x = torch.rand(options.images, 3, options.size, options.size, device=options.device)
    with torch.no_grad():
        return victim, x, torch.cat([victim(part).argmax(1) for part in x.split(64)])


def memory(victim: Victim, fast: Victim, entries: Sequence[Entry], x: Tensor, y: Tensor) -> None:
    """Peak of the tensors that live at once, beside one forward and backward pass."""
    bare = peak(partial(floor, victim, x, y, 1), x.device)
    lean = peak(partial(floor, fast, x, y, 1), x.device)
    print(f"peak memory: one pass {bare / 2**20:.1f} MiB, accelerated {lean / 2**20:.1f} MiB")
    for entry in entries:
        if entry.attack == "PGD":
            used = peak(partial(entry.run, x, y), x.device)
            one = "" if "medrobust" not in entry.library else f", {used / lean:.2f} × accelerated"
            print(f"  PGD {entry.library}: {used / 2**20:.1f} MiB, {used / bare:.2f} × plain{one}")


def floor(victim: Victim, x: Tensor, y: Tensor, steps: int) -> None:
    """`steps` forward and input-gradient passes, and nothing else."""
    for _ in range(steps):
        leaf = x.detach().requires_grad_()
        loss = F.cross_entropy(victim(leaf), y, reduction="sum")
        torch.autograd.grad(loss, leaf)


def floor_seconds(
    victim: Victim, x: Tensor, y: Tensor, passes: int, batch: int, clock: Callable[[], float]
) -> float:
    """Time of the floor; from 20 passes on it is measured on 20 and scaled."""
    measured = min(passes, 20)
    total = 0.0
    for part, labels in zip(x.split(batch), y.split(batch), strict=True):
        total += seconds(partial(floor, victim, part, labels, measured), x.device, clock)
    return total * passes / measured


def first_run(
    victim: Victim, fast: Victim, entry: Entry, x: Tensor, y: Tensor
) -> tuple[float, float, float]:
    """Robust accuracy, median distance, and images that passed a model per image; warms up.

    Judged by the model that was attacked: minimum-norm images lie so near the boundary that the
    rounding of another form of the same network decides. The distance is over all images: 0 where
    the clean one is wrong already, infinite where the attack failed.
    """
    seen: list[int] = []
    handles = [
        model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        for model in (victim, fast)
    ]
    adversarial = entry.run(x, y).detach()
    for handle in handles:
        handle.remove()
    plain = "medrobust" not in entry.library or "plain" in entry.library
    judge = victim if plain else fast
    with torch.no_grad():
        clean, after = (
            torch.cat([judge(part).argmax(1) for part in images.split(128)]) == y
            for images in (x, adversarial)
        )
    away = distance(x, adversarial, entry.norm).where(~after, torch.inf).where(clean, 0.0)
    return float(after.float().mean()), float(away.median()), sum(seen) / len(x)


def seconds(call: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    """Time of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


if __name__ == "__main__":
    main()
