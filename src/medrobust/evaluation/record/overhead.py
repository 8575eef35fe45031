"""Time that a detector takes beyond the victim's own prediction."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from medrobust.defense.core.detector import Detector
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.stream import defender_seeds

IMAGES = 32
"""Timed at once, at most."""

_ROUNDS = 3


def overhead(detector: Detector, cell: Cell, runner: Runner) -> dict[str, float]:
    """Return seconds per image of victim, Cushion and detector, timed in turn; best of 3 rounds.

    Args:
        detector: the cell's defense.
        cell: victim, seed, and clean images, the first of which are timed.
        runner: device and batch size.

    Returns:
        `victim_per_image`: a plain answer; `cushion_per_image`: the Cushion, 0 without one;
        `detector_per_image`: score, threshold and answer, without the Cushion.
    """
    images, victim = cell.clean, cell.victim
    count = min(len(images), runner.batch_size, IMAGES)
    x = images.images[:count].to(runner.device)
    seeds = defender_seeds(cell.seed, images.ids[:count]).to(runner.device)
    work: dict[str, Callable[[], object]] = {
        "victim": lambda: victim(x),
        "cushion": lambda: detector.view(x, seeds=seeds),
        "both": lambda: detector(x, victim, seeds=seeds),
    }
    best = dict.fromkeys(work, float("inf"))
    with torch.no_grad():
        for _ in range(1 + _ROUNDS):  # the first warms up
            for name, run in work.items():
                best[name] = min(best[name], _seconds(run, x))
    cushion = best["cushion"] if detector.cushion is not None else 0.0
    return {
        "victim_per_image": best["victim"] / count,
        "cushion_per_image": cushion / count,
        "detector_per_image": max(best["both"] - cushion, 0.0) / count,
    }


def _seconds(run: Callable[[], object], x: Tensor) -> float:
    _wait(x)
    start = time.perf_counter()
    run()
    _wait(x)
    return time.perf_counter() - start


def _wait(x: Tensor) -> None:
    if x.device.type != "cpu":
        torch.accelerator.synchronize(x.device)
