"""MedRDF's vote: against the bare forward passes of its copies, and sequential against fixed.

    python benchmarks/medrdf.py
    python benchmarks/medrdf.py --checkpoint CKPT --npz dermamnist.npz --images 40 --n 10000

The floor of a vote is as many forward passes of the same accelerated victim in a bare loop, in
batches of the same size. Repeats are interleaved: floor, vote, floor, vote. `n` copies of each
image are then drawn with fixed stopping, and as many as it needs with sequential stopping; they
agree on an image when they give the same class or both abstain, and `robust` when both also place
RM on the same side of its threshold. Without a checkpoint the victim has random weights: ratios
mean the same, but its votes are no diagnosis.

On a machine that others use too, `--clock cpu` counts this process's processor time instead of
wall time (set OMP_NUM_THREADS=1, since waiting threads count).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from medrobust.defense.core.base import Purifier
from medrobust.defense.gaussian_smoothing import GaussianSmoothing
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise, Noise, PoissonNoise, SaltPepperNoise
from medrobust.defense.none import NoDefense
from medrobust.model.core.checkpoint import load_victim
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
NOISES: dict[str, Callable[[], Noise]] = {
    "salt_pepper": partial(SaltPepperNoise, 0.1),
    "gaussian": partial(GaussianNoise, 0.1),
    "poisson": partial(PoissonNoise, 255),
}
DENOISERS: dict[str, Callable[[], Purifier]] = {
    "median": Median,
    "gaussian": GaussianSmoothing,
    "none": NoDefense,
}


def main() -> None:
    """Measure and print two tables."""
    options = arguments()
    victim, x = subject(options)
    seeds = sample_seeds(0, [str(place) for place in range(len(x))], x.device)
    clock = CLOCKS[options.clock]
    chosen = [name.partition("+")[::2] for name in options.variants.split(",")]
    setting = f"{tuple(x.shape[1:])}, chunk {options.chunk}, {x.device.type}, {options.clock} time"

    costs = Table(title=f"Vote against bare forward passes, {setting}, {options.repeats} repeats")
    for column in ("noise", "denoiser"):
        costs.add_column(column)
    for column in ("µs / copy", "ratio to floor", "min", "max"):
        costs.add_column(column, justify="right")
    for noise, denoiser in track(chosen, "ratios"):
        vote = medrdf((noise, denoiser), options.chunk, copies=2 * options.chunk)
        ratios, spent = [], []
        for at in range(options.repeats + 1):
            place = slice(at % len(x), at % len(x) + 1)
            bare = seconds(partial(floor, victim, x[place], vote), x.device, clock)
            run = partial(vote.count, x[place], victim, seeds=seeds[place])
            spent.append(seconds(run, x.device, clock))
            ratios.append(spent[-1] / bare)
        ratios, spent = ratios[1:], spent[1:]  # the first one warms up
        each = 1e6 * statistics.median(spent) / vote.copies
        numbers = [statistics.median(ratios), min(ratios), max(ratios)]
        costs.add_row(noise, denoiser, f"{each:.0f}", *(f"{value:.3f}" for value in numbers))
    Console(width=120).print(costs)
    if options.n:
        Console(width=120).print(stopping_rules(victim, x, seeds, chosen[0], options, setting))


def stopping_rules(
    victim: Victim,
    x: Tensor,
    seeds: Tensor,
    variant: tuple[str, str],
    options: argparse.Namespace,
    setting: str,
) -> Table:
    """Speed, copies and agreement of both stopping rules on all images."""
    clock = CLOCKS[options.clock]
    table = Table(title=f"{'+'.join(variant)}, {len(x)} images, n = {options.n}, {setting}")
    table.add_column("stopping")
    columns = ("images / s", "copies, median", "mean", "answered", "agrees", "and robust")
    for column in columns:
        table.add_column(column, justify="right")
    fixed = None
    for stopping in ("fixed", "sequential"):
        vote = medrdf(variant, options.chunk, copies=options.n, stopping=stopping)
        counts: list[Tensor] = []

        def run(vote: MedRDF = vote, counts: list[Tensor] = counts) -> None:
            parts = zip(x.split(options.batch), seeds.split(options.batch), strict=True)
            counts.extend(vote.count(part, victim, seeds=words) for part, words in parts)

        spent = seconds(run, x.device, clock)
        votes = torch.cat(counts)
        answer = vote.decide(votes)
        said = answer.label.masked_fill(answer.abstain, -1)  # type: ignore[arg-type]
        robust = answer.details["rm_robust"]
        fixed = fixed or (said, robust)
        same, alike = said == fixed[0], robust == fixed[1]
        drawn = votes.sum(1).double()
        table.add_row(
            stopping,
            f"{len(x) / spent:.3g}",
            f"{drawn.median():.0f}",
            f"{drawn.mean():.0f}",
            *(f"{part.double().mean():.1%}" for part in (said >= 0, same, same & alike)),
        )
    return table


def medrdf(variant: tuple[str, str], chunk: int, *, copies: int, stopping: str = "fixed") -> MedRDF:
    """The defense of one noise and denoiser."""
    noise, denoiser = variant
    return MedRDF(NOISES[noise](), DENOISERS[denoiser](), copies, stopping=stopping, chunk=chunk)


@torch.no_grad()
def floor(victim: Victim, image: Tensor, vote: MedRDF) -> None:
    """Forward passes of as many copies as a vote's, and nothing else."""
    batch = image.expand(vote.chunk, -1, -1, -1).contiguous()
    for _ in range(vote.copies // vote.chunk):
        victim(batch)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet18", help="of torchvision, random weights")
    parser.add_argument("--checkpoint", type=Path, help="a victim of medrobust train instead")
    parser.add_argument("--npz", type=Path, help="MedMNIST file whose test images are voted on")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--size", type=int, default=28, help="side of random images in pixels")
    parser.add_argument("--n", type=int, default=1000, help="copies per image; 0: ratios only")
    parser.add_argument("--chunk", type=int, default=512, help="copies at once")
    parser.add_argument("--batch", type=int, default=128, help="images at once")
    parser.add_argument("--repeats", type=int, default=7, help="interleaved rounds")
    parser.add_argument(
        "--variants",
        default=",".join(f"{noise}+{denoiser}" for noise in NOISES for denoiser in DENOISERS),
        help="noise+denoiser, comma separated; stopping rules are compared on the first",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    return parser.parse_args()


def subject(options: argparse.Namespace) -> tuple[Victim, Tensor]:
    """The accelerated victim and images (N, C, H, W)."""
    if (options.checkpoint is None) != (options.npz is None):
        raise SystemExit("--checkpoint and --npz go together")
    if options.checkpoint:
        victim: Victim = load_victim(options.checkpoint, train_command="medrobust train")
        with np.load(options.npz) as arrays:
            images = torch.from_numpy(arrays["test_images"][: options.images]).float() / 255
        x = images.movedim(-1, 1).contiguous() if images.ndim == 4 else images.unsqueeze(1)
    else:
        torch.manual_seed(0)
        network = torchvision.models.get_model(options.model, weights=None, num_classes=7)
        half = [0.5] * 3
        victim = Victim(network, mean=half, std=half, architecture={}).freeze()
        x = torch.rand(options.images, 3, options.size, options.size)
    return victim.to(options.device).accelerate(), x.to(options.device)


def seconds(call: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    """Time of one call without gradients."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    with torch.no_grad():
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


if __name__ == "__main__":
    main()
