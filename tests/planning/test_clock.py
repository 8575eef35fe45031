"""Estimates of time on a clock that the work itself moves."""

import pytest
import torch
from torch import nn

from medrobust.planning.clock import Estimate, OverTimeError, estimate, limited


class Clock:
    """Time that passes only in `work`: a cost per run and a cost per image or per batch."""

    def __init__(self, once: float, image: float = 0.0, batch: float = 0.0, size: int = 16) -> None:
        self.once, self.image, self.batch, self.size = once, image, batch, size
        self.now, self.runs = 0.0, list[int]()

    def __call__(self) -> float:
        return self.now

    def cost(self, count: int) -> float:
        return self.once + self.image * count + self.batch * -(-count // self.size)

    def work(self, count: int) -> None:
        first = not self.runs
        self.runs.append(count)
        self.now += self.cost(count) * (5 if first else 1)  # the first run warms up


def measured(clock: Clock, total: int, **how: float | bool) -> Estimate:
    settings = {"budget_s": 1.0, "batch_size": clock.size} | how
    return estimate(clock.work, total, clock=clock, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("once", "image"), [(0.0, 0.01), (0.3, 0.001), (2.0, 0.05), (0.1, 0.0)])
@pytest.mark.parametrize("total", [30, 2000])
def test_fixed_and_growing_costs_are_told_apart(once: float, image: float, total: int) -> None:
    clock = Clock(once, image)
    found = measured(clock, total)
    assert found == Estimate(pytest.approx(clock.cost(total)))
    assert max(clock.runs) <= 2 * clock.size


def test_a_plan_is_cheaper_than_the_sweep() -> None:
    clock = Clock(0.0, 0.05, size=128)
    found = measured(clock, 10_000)
    assert found.seconds == pytest.approx(500)
    assert clock.now < 3


def test_time_that_counts_batches() -> None:
    clock = Clock(0.0, batch=2.0)
    assert measured(clock, 160, parallel=True).seconds == pytest.approx(20.0)
    # Two runs of less than a batch cost the same, and say nothing of the next batch.
    assert measured(Clock(0.0, batch=2.0, size=512), 5120, parallel=True).seconds >= 20.0


@pytest.mark.parametrize("total", [1, 2])
def test_all_images_of_a_small_set_are_timed_warm(total: int) -> None:
    clock = Clock(0.5, 0.25)
    assert measured(clock, total).seconds == clock.cost(total)


def test_a_long_run_is_stopped_and_gives_a_lower_bound() -> None:
    layer, passes = nn.Linear(2, 2), list[int]()

    def work(count: int) -> None:
        while True:
            passes.append(count)
            try:
                layer(torch.zeros(1, 2))
            except Exception as error:  # as a search for culprits does
                raise AssertionError("swallowed") from error

    found = estimate(work, 50, budget_s=0.005, batch_size=16)
    assert found == Estimate(0.05 * 50 / 2, at_least=True)
    assert set(passes) == {2}
    layer(torch.zeros(1, 2))  # nothing is left on the modules


def test_the_limit_holds_inside_alone() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(OverTimeError), limited(-1.0):
        layer(torch.zeros(1, 2))
    with limited(60.0):
        layer(torch.zeros(1, 2))


def test_a_sum_with_a_bound_is_a_bound() -> None:
    assert Estimate(1.0) + Estimate(2.0, at_least=True) == Estimate(3.0, at_least=True)
