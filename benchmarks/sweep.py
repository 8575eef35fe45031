"""What a matrix of attacks × defenses costs, against as many runs of one cell each.

A matrix crafts a set per attack, not one per cell, and its cells share data, victim and imports.

    python benchmarks/sweep.py
    python benchmarks/sweep.py --images 64 --attacks pgd,bim --defenses none,jpeg,median

Phantom DermaMNIST, a ResNet-18 after one epoch. The runs that it is set against are not made: each
is counted with its craft and its answers alone, without starting Python or loading anything.
Overhead is what the sweep took besides crafting (and its checks) and answering. Some of it comes
once per process (imports, data, victim, the first look at each, the table at the end), the rest
with every cell (composing its config, metrics, row, pictures): the median over the cells after the
first. On a busy machine look at the CPU's column.
"""

import argparse
import cProfile
import pstats
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from medrobust.cache.tensors import Slot, TensorCache
from medrobust.evaluation import run  # before the clock starts: a sweep imports once
from medrobust.result.store import RowStore

ROOT = Path(__file__).parents[1]
DATA = ["data=dermamnist", "data.phantom=true", "model=resnet18", "trainer=auto"]


def main() -> None:
    words = parse()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shared = [f"paths.root={root}", *DATA, f"data.phantom_n={words.phantom}"]
        train = ["trainer.max_epochs=1", "progress_bar=false", "logger=none"]
        subprocess.run(
            [sys.executable, str(ROOT / "train.py"), *shared, *train],
            check=True,
            capture_output=True,
        )
        limit = [f"data.limit_test={words.images}"]
        axes = [f"attack={words.attacks}", f"defense={words.defenses}"]
        profile = cProfile.Profile(time.process_time)
        run.TensorCache = Timed  # type: ignore[misc]
        run.run_cell = noted(run.run_cell)
        start = clocks()
        if words.profile:
            profile.enable()
        evaluate([*shared, *limit, *axes, f"attack.steps={words.steps}", *words.more])
        profile.disable()
        spent = clocks() - start
        if words.profile:
            pstats.Stats(profile).sort_stats(words.profile).print_stats(120)
        show(root, spent)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attacks", default="bim,pgd,mim,dim,tim", help="all of them take steps")
    parser.add_argument("--defenses", default="none,jpeg,median,bit_depth,gaussian_smoothing")
    parser.add_argument("--steps", type=int, default=20, help="of every attack")
    parser.add_argument("--images", type=int, default=256, help="of the test set")
    parser.add_argument("--phantom", type=int, default=1600, help="images drawn; a fifth is tested")
    parser.add_argument("--profile", metavar="ORDER", help="cProfile's order: tottime, cumulative")
    parser.add_argument("more", nargs="*", help="further overrides, such as trainer.devices=2")
    return parser.parse_args()


def evaluate(overrides: list[str]) -> None:
    """evaluate.py -m in this process.

    Raises:
        SystemExit: a cell failed.
    """
    sys.argv = [str(ROOT / "evaluate.py"), "-m", *overrides]
    runpy.run_path(sys.argv[0], run_name="__main__")


def clocks() -> np.ndarray:
    """Wall and CPU seconds of this process."""
    return np.array([time.perf_counter(), time.process_time()])


class Timed(TensorCache):
    """Notes how long each entry took to make."""

    seconds: ClassVar[dict[str, np.ndarray]] = {}

    @contextmanager
    def slot(self, key: str | None) -> Iterator[Slot]:
        """Reserve an entry as the cache does."""
        with super().slot(key) as slot:
            start = clocks()
            yield slot
            if slot.found is None and key is not None:
                self.seconds[key] = clocks() - start


BEGINNINGS: list[tuple[np.ndarray, np.ndarray]] = []
"""Start of each cell, and the seconds of crafting and answering until then."""


def noted(run_cell: Callable[..., Any]) -> Callable[..., Any]:
    """`run_cell` that notes when it begins."""

    def run(config: Any) -> Any:
        BEGINNINGS.append((clocks(), sum(Timed.seconds.values(), np.zeros(2))))
        return run_cell(config)

    return run


def per_cell() -> np.ndarray:
    """Overhead from one cell's beginning to the next, the first cell's left out: the median."""
    whole, work = (np.diff(np.stack(part), axis=0) for part in zip(*BEGINNINGS, strict=True))
    middle: np.ndarray = np.median((whole - work)[1:], axis=0)
    return middle


def show(root: Path, spent: np.ndarray) -> None:
    """Print what was spent, and what separate runs would have spent."""
    rows = RowStore(root / "outputs/rows").rows()
    names = ("adversarial_set", "clean_answers", "answers")
    alone = sum(Timed.seconds[row.fingerprints[name]] for row in rows for name in names)
    sets = {row.fingerprints["adversarial_set"] for row in rows}
    crafts = sum(Timed.seconds[key] for key in sets)
    answers = sum(Timed.seconds[key] for key in Timed.seconds if key not in sets)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{len(rows)} cells, {rows[0].n} images, {device}, {torch.get_num_threads()} threads")
    lines: dict[str, Any] = {
        f"adversarial sets: {len(sets)}": crafts,
        f"sets answered: {len(Timed.seconds) - len(sets)}": answers,
        "the sweep, start to table": spent,
        "separate runs: crafts and answers": alone,
        "matrix / separate runs": spent / alone,
        "overhead, each cell": per_cell(),
        "overhead, the whole sweep": spent - crafts - answers,
    }
    print(f"{'seconds':36s}{'wall':>10s}{'CPU':>10s}")
    for name, (wall, cpu) in lines.items():
        print(f"{name:36s}{wall:10.3f}{cpu:10.3f}")


if __name__ == "__main__":
    main()
