"""MDDA beside the same algorithm built of scikit-image's pieces: time per image, and its shares.

    python benchmarks/mdda.py
    python benchmarks/mdda.py --size 224 --images 4 --steps 3 --threads 1 --clock cpu
    python benchmarks/mdda.py --device cuda --images 64

The peer is a loop over images: `skimage.transform.resize`, `numpy.random`, and
`skimage.restoration.denoise_tv_bregman(isotropic=False)` at its own tolerance, whose iterations
are compiled; it is given no more threads than ours, and has use for one. The column `excess` is
how far the denoiser ends above the least energy (Eq. 13) of a noisy image at full size: ours may
not be quicker by stopping earlier. Repeats are interleaved, and the ratio is the median of theirs.

Images are smooth blobs under faint noise. On a machine that others use too take `--clock cpu
--threads 1`, since waiting threads count; `--clock wall` is the default.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from skimage.restoration import denoise_tv_bregman
from skimage.transform import resize
from torch import Tensor
from torch.nn import functional as F

from medrobust.defense import mdda
from medrobust.defense.core.tv import energy, rof
from medrobust.defense.mdda import MDDA

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
STAGES = {"rof": "denoise", "normal": "noise", "resample": "resample"}


class Shares:
    """Seconds spent in each of some functions of a module, while it is open."""

    def __init__(self, clock: Callable[[], float], device: str) -> None:
        self.clock, self.device = clock, device
        self.seconds = dict.fromkeys(STAGES.values(), 0.0)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Watch MDDA's stages."""
        kept = {name: getattr(mdda, name) for name in STAGES}
        for name, call in kept.items():
            setattr(mdda, name, self._timed(call, STAGES[name]))
        try:
            yield
        finally:
            for name, call in kept.items():
                setattr(mdda, name, call)

    def _timed(self, call: Callable[..., Tensor], stage: str) -> Callable[..., Tensor]:
        def timed(*args: object, **kwargs: object) -> Tensor:
            start = now(self.clock, self.device)
            result = call(*args, **kwargs)
            self.seconds[stage] += now(self.clock, self.device) - start
            return result

        return timed


def main() -> None:
    """Measure and print."""
    options = arguments()
    torch.set_num_threads(options.threads)
    clock = CLOCKS[options.clock]
    x = blobs(options.images, options.size).to(options.device)
    seeds = torch.arange(len(x), device=options.device)
    defense = MDDA(options.steps, gamma=options.gamma)
    peers = x[: options.peers].permute(0, 2, 3, 1).cpu().numpy()

    ours, theirs, shares = [], [], Shares(clock, options.device)
    ratios = []
    with torch.no_grad():
        defense.purify(x[:1], seeds=seeds[:1])
        for _ in range(options.repeats):
            ours.append(seconds(lambda: defense.purify(x, seeds=seeds), clock, x) / len(x))
            theirs.append(seconds(lambda: peer(peers, defense), clock, x) / len(peers))
            ratios.append(theirs[-1] / ours[-1])
        with shares.open():
            whole = seconds(lambda: defense.purify(x, seeds=seeds), clock, x)
    for name in shares.seconds:
        shares.seconds[name] /= whole

    table = Table(
        title=f"MDDA, {tuple(x.shape)}, N={options.steps}, gamma {options.gamma:g}, "
        f"{options.device}, {options.threads} threads, {options.clock} time, "
        f"{options.repeats} repeats"
    )
    for name in ("implementation", "ms / image", "min", "max", "excess"):
        table.add_column(name, justify="left" if name == "implementation" else "right")
    least = excesses(x, defense)
    for name, found, excess in zip(
        ("medrobust", "scikit-image"), (ours, theirs), least, strict=True
    ):
        middle = statistics.median(found)
        numbers = (f"{1e3 * value:.1f}" for value in (middle, min(found), max(found)))
        table.add_row(name, *numbers, f"{excess:.2%}")
    console = Console(width=100)
    console.print(table)
    low, high = min(ratios), max(ratios)
    console.print(f"ratio {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f}), target 3")
    console.print("ours: " + ", ".join(f"{k} {v:.0%}" for k, v in shares.seconds.items()))
    passes = [forward_and_backward(defense, x, seeds, clock) for _ in range(options.repeats)]
    console.print(f"with the exact gradient: {1e3 * statistics.median(passes):.1f} ms / image")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224, help="side in pixels")
    parser.add_argument("--images", type=int, default=4, help="images in our batch")
    parser.add_argument("--peers", type=int, default=1, help="of them, for scikit-image's loop")
    parser.add_argument("--steps", type=int, default=5, help="rounds N")
    parser.add_argument("--gamma", type=float, default=5.0, help="weight of fidelity")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    return parser.parse_args()


def blobs(count: int, size: int) -> Tensor:
    """Smooth colour images with faint noise, (N, 3, size, size) in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    smooth = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)
    return (smooth + 0.02 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


def peer(images: np.ndarray, defense: MDDA) -> np.ndarray:
    """Algorithm 1 on (N, H, W, C), an image at a time."""
    return np.stack([peer_image(image, defense) for image in images])


def peer_image(image: np.ndarray, defense: MDDA) -> np.ndarray:
    """One image (H, W, C)."""
    generator = np.random.default_rng(0)
    deviation = (defense.sigma2 / defense.steps) ** 0.5
    side = image.shape[0]
    levels = [scaled(image, round(side * k)) for k in defense.scales]
    for _ in range(defense.steps):
        done = []
        for level in levels:
            noise = generator.standard_normal(level.shape, dtype=np.float32)
            clean = denoise_tv_bregman(
                level + deviation * noise, weight=defense.gamma, isotropic=False, channel_axis=-1
            )
            done.append(clean.clip(0, 1))
        levels = [mixed(done, k) for k in range(len(done))]
    return np.mean([scaled(level, side) for level in levels], axis=0).clip(0, 1)


def mixed(levels: Sequence[np.ndarray], at: int) -> np.ndarray:
    """A scale's mean with its neighbours."""
    near = [*levels[max(0, at - 1) : at], *levels[at + 1 : at + 2]]
    side = levels[at].shape[0]
    return np.mean([levels[at], *(scaled(level, side) for level in near)], axis=0)


def scaled(image: np.ndarray, side: int) -> np.ndarray:
    """Nearest when shrinking, bicubic when enlarging."""
    if side == image.shape[0]:
        return image
    order = 0 if side < image.shape[0] else 3
    return resize(image, (side, side), order=order, mode="edge", anti_aliasing=False)


def excesses(x: Tensor, defense: MDDA) -> tuple[float, float]:
    """Energy above the least, ours and scikit-image's, of an image under one round's noise."""
    first = x[0].cpu()
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(0))
    noisy = first + (defense.sigma2 / defense.steps) ** 0.5 * noise
    gamma = defense.gamma
    theirs = denoise_tv_bregman(noisy.numpy(), weight=gamma, isotropic=False, channel_axis=0)
    total = [
        float(energy(u.double(), noisy.double(), gamma).sum())
        for u in (
            rof(noisy, gamma, defense.iterations),
            torch.from_numpy(theirs),
            rof(noisy, gamma, 20 * defense.iterations),
        )
    ]
    return total[0] / total[2] - 1, total[1] / total[2] - 1


def forward_and_backward(
    defense: MDDA, x: Tensor, seeds: Tensor, clock: Callable[[], float]
) -> float:
    """Seconds per image of one purification and its gradient."""
    leaf = x.clone().requires_grad_()

    def both() -> None:
        torch.autograd.grad(defense.purify(leaf, seeds=seeds).sum(), leaf)

    return seconds(both, clock, x) / len(x)


def seconds(call: Callable[[], object], clock: Callable[[], float], x: Tensor) -> float:
    """Time of one call."""
    start = now(clock, x.device.type)
    call()
    return now(clock, x.device.type) - start


def now(clock: Callable[[], float], device: str) -> float:
    """The clock, once the device has done what it was asked."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return clock()


if __name__ == "__main__":
    main()
