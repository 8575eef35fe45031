"""Zeroth-order gradients: how near they come to the true one, and what asking costs.

    python benchmarks/zo.py
    python benchmarks/zo.py --figure cosine.png
    python benchmarks/zo.py data=brain_tumor_mri model=vgg16 data.size=64 defense=zo_ae_ds
    python benchmarks/zo.py --images 8 --threads 1 --clock cpu

Words with `=` are those of `evaluate`, whose trained victim, trained ZO-AE-DS denoiser and test
images are used; without any, a small network and autoencoder that are trained here in seconds.

First table: mean cosine of the estimated and the true gradient of the stability loss, by the number
q of directions or coordinates; the true one by autograd, for which the black box is opened here.
`image` estimates at the denoised image (ZO-DS), `code` at the autoencoder's code (ZO-AE-DS);
`denoiser` is what reaches the denoiser's output of that by the chain rule. `theory` is
sqrt(q / (q + d - 1)), for a function that is linear as far as mu. Second table: time of all
questions about a batch, against as many bare forward passes of decoder and victim.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from zo_setting import Setting, from_config, toy

from medrobust.defense.denoiser.ds import DS
from medrobust.defense.denoiser.estimator import CGE, RGE, Estimator, expected_cosine
from medrobust.model.core.victim import Victim
from medrobust.rng import fold_in, normal, sample_seeds

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Decode = Callable[[Tensor], Tensor]


class Curve(NamedTuple):
    """Cosines of one estimator at one place.

    Attributes:
        label: estimator and place.
        dimension: of the place.
        cosines: by q.
        denoiser: of what reaches the denoiser, by q.
    """

    label: str
    dimension: int
    cosines: dict[int, float]
    denoiser: dict[int, float]


def main() -> None:
    """Measure, print and draw."""
    options, overrides = arguments()
    torch.set_num_threads(options.threads)
    setting = from_config(overrides) if overrides else toy()
    setting = setting._replace(images=setting.images[: options.images])
    curves = [
        curve(setting, place, kind, options) for place in ("image", "code") for kind in (RGE, CGE)
    ]
    console = Console(width=110)
    table = Table(title=f"{setting.name}, cosine with the true gradient, mu {options.mu:g}")
    columns = ["estimator", "d", *(f"q={q}" for q in options.q)]
    for column in columns:
        table.add_column(column, justify="left" if column == "estimator" else "right")
    for one in curves:
        rows = {one.label: one.cosines, f"{one.label} → denoiser": one.denoiser}
        if one.label.startswith("RGE"):
            rows["  theory"] = {q: expected_cosine(q, one.dimension) for q in options.q}
        for label, found in rows.items():
            numbers = (f"{found[q]:.3f}" if q in found else "" for q in options.q)
            table.add_row(label, str(one.dimension), *numbers)
    console.print(table)
    if options.figure is not None:
        draw(setting, curves, options)
        console.print(f"drawn: {options.figure}")
    costs(setting, options, console)


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """The command line, and its words for `evaluate`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="words of medrobust evaluate")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--q", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--mu", type=float, default=0.005)
    parser.add_argument("--chunk", type=int, default=512, help="questions at once")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved, of the times")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--figure", type=Path, default=None, help="PNG to draw the cosines in")
    options = parser.parse_intermixed_args()
    return options, options.overrides


def place_of(setting: Setting, place: str) -> tuple[Tensor, Tensor, Decode]:
    """Denoised noisy images, with the graph that they start; the place; what it is decoded by."""
    defense, x = setting.defense, setting.images
    seeds = sample_seeds(0, [str(i) for i in range(len(x))], x.device)
    with torch.no_grad():
        noisy = (x + defense.sigma * normal(seeds, x.shape[1:])).clamp(0, 1)
        denoised = defense.denoise(noisy)
    denoised.requires_grad_()
    if place == "image":
        return denoised, denoised * 1.0, lambda z: DS.decode(defense, z)
    return denoised, defense.encode(denoised), defense.decode


def losses(setting: Setting, decode: Decode) -> Callable[[Tensor, Tensor], Tensor]:
    """The stability loss of each point."""
    with torch.no_grad():
        goal = setting.victim(setting.images).argmax(1)

    def ask(points: Tensor, row: Tensor) -> Tensor:
        found = F.cross_entropy(setting.victim(decode(points)), goal[row], reduction="none")
        return found.flatten(1).mean(1) if found.ndim > 1 else found

    return ask


def curve(
    setting: Setting, place: str, kind: type[Estimator], options: argparse.Namespace
) -> Curve:
    """Mean cosines of one estimator at one place."""
    denoised, z, decode = place_of(setting, place)
    ask, dimension = losses(setting, decode), z[0].numel()
    value = ask(z, torch.arange(len(z), device=z.device)).sum()
    exact, far = torch.autograd.grad(value, (z, denoised), retain_graph=True)
    seeds = sample_seeds(1, [str(i) for i in range(len(z))], z.device)
    cosines, denoiser = {}, {}
    for q in options.q:
        if kind is CGE and q > dimension:
            continue
        estimator = kind(q=q, mu=options.mu, chunk=options.chunk)  # type: ignore[call-arg]
        found = estimator(ask, z, seeds=fold_in(seeds, q)).grad
        (reached,) = torch.autograd.grad(z, denoised, found, retain_graph=True)
        cosines[q], denoiser[q] = cosine(found, exact), cosine(reached, far)
    return Curve(f"{kind.__name__} at {place}", dimension, cosines, denoiser)


def cosine(found: Tensor, exact: Tensor) -> float:
    """Mean over the images."""
    return torch.cosine_similarity(found.flatten(1), exact.flatten(1), dim=1).mean().item()


@torch.no_grad()
def costs(setting: Setting, options: argparse.Namespace, console: Console) -> None:
    """Time of the questions against bare forward passes of as many points."""
    table = Table(title=f"questions of {len(setting.images)} images, {options.clock} time")
    for column in ("estimator", "questions", "estimate, s", "bare, s", "ratio (min to max)"):
        table.add_column(column, justify="left" if column == "estimator" else "right")
    for place in ("image", "code"):
        _, z, decode = place_of(setting, place)
        z, ask, q = z.detach(), losses(setting, decode), max(options.q)
        seeds, dimension = torch.arange(len(z), device=z.device), z[0].numel()
        for estimator in (
            RGE(q, options.mu, chunk=options.chunk),
            CGE(min(q // 2, dimension), options.mu, chunk=options.chunk),
        ):
            count = estimator.count(dimension)
            group = max(1, options.chunk // len(z))
            numbers = [len(z), *(len(z) * min(group, count - at) for at in range(0, count, group))]
            batches = [z.repeat(number // len(z), 1, 1, 1) for number in numbers]
            calls = (
                partial(estimator, ask, z, seeds=seeds),
                partial(answered, setting.victim, decode, batches),
            )
            ours, bare = interleaved(calls, options, z)
            ratios = [one / other for one, other in zip(ours, bare, strict=True)]
            table.add_row(
                f"{type(estimator).__name__} at {place}",
                str(sum(numbers)),
                *(f"{statistics.median(found):.3f}" for found in (ours, bare)),
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            )
    console.print(table)


def answered(victim: Victim, decode: Decode, batches: Sequence[Tensor]) -> list[Tensor]:
    """Bare forward passes."""
    return [victim(decode(z)) for z in batches]


def interleaved(
    calls: Sequence[Callable[[], object]], options: argparse.Namespace, x: Tensor
) -> list[list[float]]:
    """Seconds of each call, in each of the repeats; one before them warms up."""

    def now() -> float:
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        return CLOCKS[options.clock]()

    found: list[list[float]] = [[] for _ in calls]
    for _ in range(options.repeats + 1):
        for call, times in zip(calls, found, strict=True):
            start = now()
            call()
            times.append(now() - start)
    return [times[1:] for times in found]


def draw(setting: Setting, curves: Sequence[Curve], options: argparse.Namespace) -> None:
    """Cosine against q: at the place of the estimate, and as it reaches the denoiser."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    colours = {"image": "tab:orange", "code": "tab:blue"}
    for one in curves:
        kind, place = one.label.split(" at ")
        style = {"color": colours[place], "marker": "o" if kind == "RGE" else "s", "ms": 4}
        line = "-" if kind == "RGE" else "--"
        label = f"{kind}, {place} (d = {one.dimension})"
        axes[0].plot(list(one.cosines), list(one.cosines.values()), line, label=label, **style)
        axes[1].plot(list(one.denoiser), list(one.denoiser.values()), line, **style)
        if kind == "RGE":
            theory = [expected_cosine(q, one.dimension) for q in options.q]
            axes[0].plot(options.q, theory, ":", color=colours[place], lw=1.2)
    for panel, title in zip(axes, ("where it is estimated", "at the denoiser"), strict=True):
        panel.set(xscale="log", xlabel="q, directions or coordinates", title=title, ylim=(0, 1.02))
        panel.set_xticks(options.q, [str(q) for q in options.q])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("cosine with the true gradient")
    axes[0].plot([], [], ":", color="grey", label="theory, RGE")
    axes[0].legend(fontsize=8)
    figure.suptitle(setting.name, fontsize=10)
    figure.savefig(options.figure, dpi=150)


if __name__ == "__main__":
    main()
