"""A sweep of an experiment that was never run: every planned row, and what its figures read."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from medrobust.report.callback import plain_figure
from medrobust.report.figure.core.base import Figure
from medrobust.report.figure.core.case import TapFigure
from medrobust.report.figure.core.kinds import parse
from medrobust.report.figure.perturbations import Perturbations
from medrobust.report.figure.rm_map import RMMap
from medrobust.report.figure.robust_metric import RobustMetric
from medrobust.report.sweep import Sweep
from medrobust.report.table.config import TableConfig
from medrobust.result.flag import flag
from medrobust.result.iterates import Iterates
from medrobust.result.maps import Maps, Side
from medrobust.result.row import Row
from tests.experiment.paper_cells import composed, planned, prepare, recipe, row, table_config

CLASSES = ("first_class", "second & last")
OF_ATTACKS = ("perturbation_", "attack_success_rate", "accuracy_decrease", "undetected", "auroc_d")
OF_DEFENSES = (
    "accuracy_vote",
    "rm_",
    "robust_metric",
    "certified",
    "training_queries",
    "undetected",
    "auroc_d",
)
TIMES = {"per_image": 0.01, "training": 60.0, "craft": 1.0, "defend": 2.0, "total": 3.0}


@cache
def rows(name: str) -> tuple[Row, ...]:
    """The rows that the sweep would leave, each once, as different from each other as they may be.

    Clean images have no measures of an attack, networks without a detector none of detection, and
    some metrics have no interval.
    """
    config = composed(f"experiment={name}")
    table, usual = table_config(config), dict(config.hydra.runtime.choices)
    jobs = planned(config)
    prepare(config, jobs)
    found: dict[str, Row] = {}
    for number, job in enumerate(jobs):
        made = row(config, job, _metrics(table, usual | job, number))
        settings = (made.cell, made.attack_variant, made.defense_variant)
        others = {key: value for key, value in job.items() if key.split(".")[0] not in made.cell}
        shared = [key for key in others if key in ("eps", "copies", "stopping", "eot_samples")]
        for key in shared:  # they stand in the settings of what they belong to
            del others[key]
        if recipe(job):  # a row has what the checkpoint states
            del others["victim_training"]
            others["victim"] = recipe(job)
        ident = hashlib.sha256(repr((settings, sorted(others.items()))).encode()).hexdigest()
        matrix = [[3 + number, 1], [2, 4]] if "dice" not in made.metrics else None
        attack = {"name": made.cell["attack"], **made.attack_variant}
        defense = {"name": made.cell["defense"], **made.defense_variant}
        found[ident] = replace(
            made,
            id=ident,
            intervals={key: made.intervals[key] for key in list(made.intervals)[number % 2 :]},
            seconds=TIMES if number % 3 else {},
            confusion=matrix,
            clean_confusion=matrix if number % 2 else None,
            classes=list(CLASSES) if matrix else [],
            flags=[flag("surrogate_not_fooled", before=0.9, after=0.89)] if number % 4 == 0 else [],
            config={**made.cell, **others, "attack": attack, "defense": defense},
            overrides=[f"{key}={value}" for key, value in job.items()],
        )
    return tuple(found.values())


def gaps(found: Sequence[Row], seed: int = 0) -> list[Row]:
    """Return the rows of a sweep that did not go well: a fifth failed, a fifth is missing."""
    draw = random.Random(seed)
    left = [one for one in found if draw.random() < 0.8] or [found[0]]
    bad = set(draw.sample(range(len(left)), max(1, len(left) // 4)))
    error = "Traceback:\n  …\nRuntimeError: CUDA <out> of memory & more"
    return [
        replace(
            one,
            status="failed",
            error=error,
            n=0,
            metrics={},
            intervals={},
            seconds={},
            confusion=None,
            clean_confusion=None,
            classes=[],
            flags=[],
        )
        if number in bad
        else one
        for number, one in enumerate(left)
    ]


def sweep(name: str, found: Sequence[Row], folder: Path) -> Sweep:
    """The sweep, with made-up files beside its rows where its figures need some."""
    config = composed(f"experiment={name}")
    figures = parse(plain_figure(config))
    files = folder / "rows"
    files.mkdir()
    for one in found:
        _record(one, figures, files)
    return Sweep(
        folder=folder,
        rows=tuple(found),
        config=table_config(config),
        problems=tuple(f"{one.id[:6]} failed" for one in found if one.status != "done"),
        command=f"medrobust evaluate -m experiment={name}",
        jobs=len(found),
        skipped=0,
        pictures={one.id: files / f"{one.id}.png" for one in found},
        figures=figures,
    )


def _metrics(table: TableConfig, choices: Mapping[str, str], number: int) -> dict[str, float]:
    lacking = (
        (OF_ATTACKS if choices["attack"] == "none" else ())
        + (OF_DEFENSES if choices["defense"] == "none" else ())
        + ("seconds_per_image", "training_hours")  # no metrics: they come from the row's times
    )
    names = dict.fromkeys((table.metric, *table.metrics, *table.also, *table.extra, "accuracy"))
    draw = random.Random(number)
    return {name: draw.random() for name in names if not name.startswith(lacking)}


def _record(one: Row, figures: Sequence[Figure], folder: Path) -> None:
    kinds = {type(figure) for figure in figures}
    generator = np.random.default_rng(0)
    taps = tuple(figure.tap for figure in figures if isinstance(figure, TapFigure))
    if taps or kinds & {RobustMetric, RMMap}:
        shape = (3, 6, 6) if RMMap in kinds else (3,)
        sides = [_side(shape, taps, generator) for _ in range(2)]
        ids = ("x/0", "x/1", "x/2")
        maps = Maps(ids, np.zeros(shape, np.int64), CLASSES, taps, 3, *sides)
        maps.write(folder / f"{one.id}.maps.npz")
    if Perturbations in kinds:
        clean = generator.random((1, 6, 6, 3), dtype=np.float32)
        way = generator.uniform(-0.1, 0.1, (2, 1, 6, 6, 3)).astype(np.float32)
        Iterates(("x/0",), 1, (1, 4), clean, way, 0.1).write(folder / f"{one.id}.iterates.npz")


def _side(shape: tuple[int, ...], taps: Sequence[str], generator: np.random.Generator) -> Side:
    maps = {tap: generator.random((3, 4, 4), dtype=np.float32) for tap in taps}
    return Side(
        images=generator.integers(0, 256, (3, 6, 6, 3), dtype=np.uint8),
        victim_label=generator.integers(0, 2, shape),
        defended_label=generator.integers(0, 2, shape),
        confidence=generator.random(3),
        abstain=generator.random(shape) < 0.3,
        victim=maps,
        defended=maps,
        confidence_map=generator.random((3, 6, 6), dtype=np.float32),
    )
