"""Time of the parts of one cell, measured on a few of its images."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from medrobust.data.core.image_set import ImageSet
from medrobust.evaluation.adversarial import Craft
from medrobust.evaluation.batches.batches import Batch
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.checks import craft_checks
from medrobust.evaluation.gradient_cosine import IMAGES
from medrobust.evaluation.stream import attacker_seeds, defender_seeds
from medrobust.planning.clock import NOTHING, Estimate, OverTimeError, estimate, limited


def first(images: ImageSet, count: int) -> ImageSet:
    """Return the first images of a set."""
    return ImageSet(images.images[:count], images.labels[:count], images.ids[:count])


@dataclass(frozen=True)
class Probe:
    """Runs the parts of a cell on its first images.

    Attributes:
        cell: built, and evaluated nowhere yet.
        runner: computes; its cache is not used.
        budget_s: seconds to spend on each part.
    """

    cell: Cell
    runner: Runner
    budget_s: float

    def crafting(self) -> Estimate:
        """Estimate the time of the adversarial set, with what the attack learns and its checks."""
        cell, clean = self.cell, self.cell.clean
        seeds = attacker_seeds(cell.seed, clean.ids)
        fitted = NOTHING
        if cell.attack.learns:
            fitted = once(lambda: cell.attack.fit(cell.surrogate, cell.data), 10 * self.budget_s)
            if fitted.at_least:
                return fitted
        work = Craft(cell.surrogate, cell.attack, cell.quantize, cell.perturbation)

        def craft(count: int) -> None:
            self.runner.map(work, first(clean, count), seeds[:count])

        def check(count: int) -> None:
            # Clean images stand for attacked ones, which cost the same.
            few = first(clean, count)
            how = seeds[:count], self.runner
            craft_checks(cell.surrogate, cell.attack, few, few.images, *how)

        return fitted + self._of(craft) + self._of(check, at_first=IMAGES)

    def answering(self) -> Estimate:
        """Estimate the time of the deployed system's answers to the images, in all its draws."""
        cell = self.cell
        seeds = defender_seeds(cell.seed, cell.clean.ids)

        def work(batch: Batch) -> dict[str, Tensor]:
            with torch.no_grad():
                cell.defense(batch.images, cell.victim, seeds=batch.seeds)
            return {"seeds": batch.seeds}

        def answer(count: int) -> None:
            self.runner.map(work, first(cell.clean, count), seeds[:count])

        found = self._of(answer)
        return Estimate(found.seconds * cell.draws, found.at_least)

    def _of(self, work: Callable[[int], object], at_first: int = 2) -> Estimate:
        return estimate(
            work,
            len(self.cell.clean),
            budget_s=self.budget_s,
            batch_size=self.runner.batch_size,
            parallel=self.runner.device.type != "cpu",
            first=at_first,
        )


def once(work: Callable[[], object], limit_s: float) -> Estimate:
    """Run something once and return its time, at least the limit if it was stopped."""
    start = time.perf_counter()
    try:
        with limited(limit_s):
            work()
    except OverTimeError:
        return Estimate(limit_s, at_least=True)
    return Estimate(time.perf_counter() - start)
