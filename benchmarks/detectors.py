"""What detectors cost beside the plain answer of the same accelerated victim.

    python benchmarks/detectors.py
    python benchmarks/detectors.py --size 224 --batch 8 --train 128 --detectors shield,maha

Each detector is that of its config, without a Cushion, fitted on generated chest images; learned
ones have random weights, which cost the same. Repeats are interleaved: victim, detector, victim,
detector. `ratio` is whole answers (logits, score and threshold) against plain logits. Feature
squeezing asks the victim once more for each squeezer: 4 is its floor with three of them.

On a machine that others use too, `--clock cpu` counts this process's processor time instead of
wall time (set OMP_NUM_THREADS=1, since waiting threads count).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track
from rich.table import Table

from medrobust.data.core.base import MedicalDataModule
from medrobust.defense.core.detector import Detector
from medrobust.defense.core.learned import LearnedDetector
from medrobust.model.core.victim import Victim
from medrobust.resolvers import register
from medrobust.rng import sample_seeds

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CONF = Path(__file__).parents[1] / "conf"
DETECTORS = "shield,dnn,kd,lid,maha,feature_squeezing,layer_regression"


def main() -> None:
    """Measure and print a table."""
    options = arguments()
    clock = CLOCKS[options.clock]
    register()
    x = torch.rand(options.batch, 3, options.size, options.size, device=options.device)
    seeds = sample_seeds(0, [str(place) for place in range(len(x))], x.device)
    title = (
        f"Detectors beside {options.model}, {tuple(x.shape)}, {options.device}, {options.clock} "
        f"time, fitted on {options.train} images, {options.repeats} repeats"
    )
    table = Table(title=title)
    table.add_column("detector")
    columns = ("victim, ms / image", "ms / image", "images / s", "ratio", "min", "max")
    for column in columns:
        table.add_column(column, justify="right")
    with (
        tempfile.TemporaryDirectory() as folder,
        initialize_config_dir(str(CONF), version_base="1.3"),
    ):
        data: MedicalDataModule = instantiate(settings("none", options, folder).data)
        data.setup()
        for name in track(options.detectors.split(","), "detectors"):
            victim, detector = subject(settings(name, options, folder), data, options.device)
            bare, whole = [], []
            for _ in range(options.repeats + 1):
                bare.append(seconds(partial(victim, x), clock))
                whole.append(seconds(partial(detector, x, victim, seeds=seeds), clock))
            bare, whole = bare[1:], whole[1:]  # the first ones warm up
            ratios = [one / other for one, other in zip(whole, bare, strict=True)]
            each = [1e3 * statistics.median(part) / len(x) for part in (bare, whole)]
            table.add_row(
                name,
                *(f"{value:.2f}" for value in each),
                f"{1e3 / each[1]:.0f}",
                *(f"{value:.3f}" for value in spread(ratios)),
            )
    Console(width=120).print(table)


def spread(ratios: list[float]) -> tuple[float, float, float]:
    """Median, least and largest."""
    return statistics.median(ratios), min(ratios), max(ratios)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--detectors", default=DETECTORS, help="of conf/defense, comma separated")
    parser.add_argument("--model", default="resnet18", help="of conf/model, random weights")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=32, help="images at once")
    parser.add_argument(
        "--train", type=int, default=200, help="images that detectors are fitted on"
    )
    parser.add_argument("--repeats", type=int, default=9, help="interleaved rounds")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    return parser.parse_args()


def settings(defense: str, options: argparse.Namespace, folder: str) -> DictConfig:
    """The config of a defense before a victim on generated chest images."""
    overrides = [
        "data=chest_xray",
        "data.phantom=true",
        f"paths.root={folder}",
        f"data.size={options.size}",
        f"data.phantom_n={2 * options.train}",
        f"data.limit_train={options.train}",
        f"model={options.model}",
        f"defense={defense}",
    ]
    return compose("evaluate", overrides)


def subject(config: DictConfig, data: MedicalDataModule, device: str) -> tuple[Victim, Detector]:
    """An accelerated victim and a fitted detector before it; nothing is kept on disk."""
    torch.manual_seed(0)
    victim: Victim = instantiate(config.model, num_classes=data.num_classes)
    victim.freeze().to(device).accelerate()
    detector: Detector = instantiate(config.defense, fits=None)
    if isinstance(detector, LearnedDetector):
        detector.inspect_victim(victim, data)
        detector.build(data.channels)
        detector.to(device).eval().requires_grad_(False)
    Detector.fit(detector, victim, data)
    return victim, detector


@torch.no_grad()
def seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Time of one call without gradients."""
    start = clock()
    call()
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return clock() - start


if __name__ == "__main__":
    main()
