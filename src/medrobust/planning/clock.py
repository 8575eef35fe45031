"""Time of work on many images, measured on a few."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch.nn.modules.module import register_module_forward_pre_hook

Clock = Callable[[], float]


class OverTimeError(BaseException):
    """Raised at a forward pass after the time limit; no handler of `Exception` swallows it."""


class Estimate(NamedTuple):
    """Estimated time.

    Attributes:
        seconds: of the whole work.
        at_least: the work was stopped at the limit, so it takes longer.
    """

    seconds: float
    at_least: bool = False

    def __add__(self, other: object) -> "Estimate":
        """Return the time of both."""
        if not isinstance(other, Estimate):
            return NotImplemented
        return Estimate(self.seconds + other.seconds, self.at_least or other.at_least)


NOTHING = Estimate(0.0)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Stop the block at the first forward pass of any module after a time.

    Raises:
        OverTimeError: the time is over.
    """
    end = time.monotonic() + seconds

    def check(*_: object) -> None:
        if time.monotonic() > end:
            raise OverTimeError

    handle = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        handle.remove()


def estimate(
    work: Callable[[int], object],
    total: int,
    *,
    budget_s: float,
    batch_size: int,
    parallel: bool = False,
    first: int = 2,
    clock: Clock = time.perf_counter,
) -> Estimate:
    """Estimate the time of some work on all images from runs on a few.

    The first run warms up. Each further run takes four times the images, until two of them were
    made and the budget is spent, or two batches or all images are reached. The last two runs give a
    line in the number of images. Its intercept is what the work costs once, such as the steps of an
    attack, which are as many for one image as for a batch.

    Args:
        work: runs on the first so many images.
        total: number of all images.
        budget_s: seconds to spend; runs that take ten times as long are stopped.
        batch_size: images at once.
        parallel: a smaller batch takes as long as a whole one (a GPU), so that time counts batches.
        first: images of the first run.
        clock: current time in seconds.
    """
    most = min(total, 2 * batch_size)
    count, begin = min(first, most), clock()
    points: dict[int, float] = {}
    limit_s = 10 * budget_s
    try:
        with limited(limit_s):
            took = points[count] = _timed(work, count, clock)
            if count == most:
                points[count] = min(took, _timed(work, count, clock))
        while count < most and (len(points) < 3 or clock() - begin < budget_s):
            count = min(most, 4 * count)
            with limited(max(limit_s - (clock() - begin), 2.5 * took)):
                took = points[count] = _timed(work, count, clock)
    except OverTimeError:
        if not points:
            return Estimate(limit_s * total / count, at_least=True)
    return Estimate(_extrapolated(list(points.items()), total, batch_size, parallel=parallel))


def _timed(work: Callable[[int], object], count: int, clock: Clock) -> float:
    start = clock()
    work(count)
    return clock() - start


def _extrapolated(
    points: list[tuple[int, float]], total: int, batch_size: int, *, parallel: bool
) -> float:
    """Return the time of all images on the line through the last two points."""
    last, took = points[-1]
    if last == total:
        return took

    def size(count: int) -> int:
        return -(-count // batch_size) if parallel else count

    before, less = points[-2] if len(points) > 1 else points[-1]
    if size(before) == size(last):
        return took * size(total) / size(last)
    slope = max(0.0, (took - less) / (size(last) - size(before)))
    return took + slope * (size(total) - size(last))
