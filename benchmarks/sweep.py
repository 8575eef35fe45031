"""What a matrix of attacks × defenses costs, against as many runs of one cell each.

A matrix crafts a set per attack, not one per cell, and its cells share data, victim and imports.

    python benchmarks/sweep.py
    python benchmarks/sweep.py --images 64 --attacks pgd,bim --defenses none,jpeg,median

Phantom DermaMNIST, a ResNet-18 after one epoch. The runs that it is set against are not made: each
is counted with its craft and its answers alone, without starting Python or loading anything.
"""

import argparse
import cProfile
import pstats
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from medrobust.evaluation import cell  # before the clock starts: a sweep imports once
from medrobust.evaluation.cache import TensorCache
from medrobust.result.row import Row
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
        profile = cProfile.Profile()
        start = time.perf_counter()
        if words.profile:
            profile.enable()
        evaluate([*shared, *limit, *axes, f"attack.steps={words.steps}", *words.more])
        profile.disable()
        wall = time.perf_counter() - start
        if words.profile:
            pstats.Stats(profile).sort_stats(words.profile).print_stats(45)
        show(root, wall)


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


def show(root: Path, wall: float) -> None:
    """Print what was spent, and what separate runs would have spent."""
    rows = RowStore(root / "outputs/rows").rows()
    cache = TensorCache(root / "outputs/cache")

    def seconds(row: Row, entry: str) -> float:
        found = cache.get(row.fingerprints[entry])
        assert found is not None
        return float(found.meta.get("seconds_checked", found.meta["seconds"]))

    names = ("adversarial_set", "clean_answers", "answers")
    made = {row.fingerprints[name]: seconds(row, name) for row in rows for name in names}
    crafts = {row.fingerprints[names[0]]: seconds(row, names[0]) for row in rows}
    alone = sum(seconds(row, name) for row in rows for name in names)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{device}, {torch.get_num_threads()} threads, {rows[0].n} images, {cell.__name__}")
    print(f"cells                        {len(rows):8d}")
    print(f"adversarial sets             {len(crafts):8d}   {sum(crafts.values()):8.1f} s")
    answers = sum(made.values()) - sum(crafts.values())
    print(f"sets answered                {len(made) - len(crafts):8d}   {answers:8.1f} s")
    print(f"the sweep, start to table               {wall:8.1f} s")
    print(f"separate runs: crafts and answers       {alone:8.1f} s")
    print(f"cost of the matrix / separate runs      {wall / alone:8.2f}")
    print(
        f"overhead per cell                       {(wall - sum(made.values())) / len(rows):8.3f} s"
    )


if __name__ == "__main__":
    main()
