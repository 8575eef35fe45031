"""Files next to a row: those that every cell writes, and those that a config requests."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import Result
from medrobust.evaluation.record.convergence import ConvergenceRequest
from medrobust.evaluation.record.images import image_record
from medrobust.evaluation.record.iterates import IteratesRequest
from medrobust.evaluation.record.maps import MapsRequest
from medrobust.evaluation.record.pictures import sheet, strips
from medrobust.result.picture import write_picture
from medrobust.result.store import RowStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Requests:
    """The recordings that a config requests.

    Attributes:
        maps: activation maps of some images.
        iterates: perturbations of an iterated attack on its way.
        convergence: losses of the attack, step by step.
    """

    maps: MapsRequest | None = None
    iterates: IteratesRequest | None = None
    convergence: ConvergenceRequest | None = None

    @classmethod
    def parse(cls, config: DictConfig, cell: Cell) -> "Requests":
        """Read the nodes `maps`, `iterates` and `convergence`.

        Raises:
            ValueError: the cell cannot record what they request.
        """
        maps = MapsRequest.parse(config.maps)
        if maps is not None:
            maps.check(cell.victim)
        iterates = IteratesRequest.parse(config.iterates)
        if iterates is not None:
            iterates.check(cell.attack)
        return cls(maps, iterates, ConvergenceRequest.parse(config.convergence))

    def met_by(self, store: RowStore, row_id: str) -> bool:
        """Return whether the files next to a row hold what is requested."""
        wanted = (
            (self.maps, store.maps(row_id)),
            (self.iterates, store.iterates(row_id)),
            (self.convergence, store.convergence(row_id)),
        )
        return all(request is None or request.met_by(path) for request, path in wanted)

    def write(
        self, cell: Cell, result: Result, runner: Runner, store: RowStore, row_id: str
    ) -> dict[str, np.ndarray]:
        """Write all files next to the row, and return its pictures.

        Call this before the row is stored: a finished row has its files. All are made before the
        first is written, so that a cell that fails leaves none. One whose place is taken by a
        folder is logged and left out.
        """
        wanted = self.maps
        maps = None if wanted is None else wanted.record(cell, result, runner.device)
        steps = self.iterates
        iterates = None if steps is None else steps.record(cell, runner.device)
        losses = self.convergence
        convergence = None if losses is None else losses.record(cell, runner.device)
        images = image_record(cell, result)
        pictures = strips(
            *(cell.clean, result.attacked.images, cell.defense.cpu()),
            seed=cell.seed,
            answers=(result.before, result.after),
        )
        png = sheet(pictures)
        if maps is not None:
            _put(store.maps(row_id), maps.write)
        if iterates is not None:
            _put(store.iterates(row_id), iterates.write)
        if convergence is not None:
            _put(store.convergence(row_id), convergence.write)
        if result.scores is not None:
            _put(store.scores(row_id), result.scores.write)
        _put(store.per_image(row_id), images.write)
        _put(store.picture(row_id), lambda path: write_picture(path, png))
        return pictures


def _put(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file, or log the folder in its place, which may hold what is someone's own."""
    if path.is_dir():
        _log.warning("not written: %s is a folder, expected a file; remove it and run again", path)
    else:
        write(path)
