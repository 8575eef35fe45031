"""Metrics of one cell, from one or several draws of its defense."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from medrobust.metric.grouped import grouped_wilson
from medrobust.metric.interval import Proportion, Statistic, counted_bootstrap, proportion
from medrobust.result.per_image import draw_of


class Measured(NamedTuple):
    """Metrics of one cell.

    Attributes:
        values: name -> value.
        intervals: name -> [low, high], 95 %.
        confusion: counts under attack, true × predicted; None for segmentation.
        clean_confusion: counts on the clean images.
        per_image: name -> what is recorded of the images, (N,): float64 for scores and shares,
            int64 for classes and counts; None if there is nothing.
        statistics: name -> the metric as a function of the images' weights; those with an interval.
    """

    values: dict[str, float]
    intervals: dict[str, list[float]]
    confusion: list[list[int]] | None = None
    clean_confusion: list[list[int]] | None = None
    per_image: dict[str, np.ndarray] | None = None
    statistics: dict[str, Statistic] | None = None

    def __eq__(self, other: object) -> bool:
        """Compare what a row says: values, intervals and confusion matrices."""
        return isinstance(other, Measured) and self[:4] == other[:4]

    def add(
        self,
        values: Mapping[str, float],
        intervals: Mapping[str, list[float]] | None = None,
        statistics: Mapping[str, Statistic] | None = None,
    ) -> None:
        """Add further metrics, with their intervals and statistics where they have any."""
        self.values.update(values)
        self.intervals.update(intervals or {})
        if self.statistics is not None:
            self.statistics.update(statistics or {})


def over_draws(
    draws: Sequence[Measured], *, n: int, seed: int, groups: np.ndarray | None = None
) -> Measured:
    """Average the metrics of several draws of a randomized defense over the same images.

    A value is the mean over the draws in which the metric is defined. Its interval is a bootstrap
    over images, whose resamples are the same for all draws, so that it states the uncertainty of
    the images. `accuracy_worst_draw` is the share of images that are correct in all draws, with
    Wilson's interval; `clean_accuracy_worst_draw` is the same on the clean images. Confusion
    matrices add up. Of what is recorded of each image, scores and shares are averaged; a class or a
    count is that of the first draw. `correct` and `dice` are kept draw by draw, too.

    Args:
        draws: metrics of each draw, at least one; of a single one they are returned as they are.
        n: number of images N.
        seed: seed of the bootstrap.
        groups: (N,) group of each image; the intervals of a single draw are over them already.
    """
    first, *others = draws
    if not others:
        return first
    values: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    for name in dict.fromkeys(name for one in draws for name in one.values):
        values[name] = float(np.mean([one.values[name] for one in draws if name in one.values]))
        found = [over[name] for over in (one.statistics or {} for one in draws) if name in over]
        if found:
            intervals[name] = counted_bootstrap(
                lambda counts, found=found: _mean([over(counts) for over in found]),  # type: ignore[misc]
                n,
                seed=seed,
                groups=groups,
            )
    records = [one.per_image for one in draws if one.per_image is not None]
    per_image = {
        name: np.mean([one[name] for one in records], axis=0) if value.dtype.kind == "f" else value
        for name, value in (records[0] if records else {}).items()
    }
    for name in ("correct", "dice"):
        if name in per_image:
            drawn = {draw_of(name, k): one[name] for k, one in enumerate(records, start=1)}
            per_image.update(drawn)
    for name in ("correct", "clean_correct"):
        if name in per_image:
            always = torch.from_numpy(np.all([one[name] == 1 for one in records], axis=0))
            worst = f"{name.replace('correct', 'accuracy')}_worst_draw"
            values[worst], intervals[worst] = proportion(always, groups)
    return Measured(
        values,
        intervals,
        _sum([one.confusion for one in draws]),
        _sum([one.clean_confusion for one in draws]),
        per_image or None,
    )


def _mean(draws: list[np.ndarray]) -> np.ndarray:
    """Average over the draws that are not NaN; NaN where all are."""
    stacked = np.stack(draws)
    there = ~np.isnan(stacked)
    total, count = np.where(there, stacked, 0.0).sum(0), there.sum(0)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _sum(counts: list[list[list[int]] | None]) -> list[list[int]] | None:
    found = [one for one in counts if one is not None]
    total: list[list[int]] | None = np.sum(found, axis=0).tolist() if found else None
    return total


def over_groups(measured: Measured, groups: np.ndarray, *, seed: int) -> Measured:
    """Return the metrics with intervals over groups instead of images.

    Shares of images have Wilson's interval at their effective sample size, see `grouped_wilson`;
    all other metrics a percentile bootstrap of whole groups (Davison and Hinkley 1997, section
    3.8). Values stay.

    Args:
        measured: metrics whose intervals all have a statistic.
        groups: group of each image, (N,), counted from 0.
        seed: seed of the bootstrap.
    """
    statistics = measured.statistics or {}
    intervals = {}
    for name in measured.intervals:
        statistic = statistics[name]
        if isinstance(statistic, Proportion):
            intervals[name] = grouped_wilson(statistic.hits, statistic.among, groups)
        else:
            intervals[name] = counted_bootstrap(statistic, len(groups), seed=seed, groups=groups)
    return measured._replace(intervals=intervals)
