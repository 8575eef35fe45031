"""Puts every mistake into a copy of the package and runs the tests that are to find it.

python -m tests.mutants [--only PART_OF_A_FILE_NAME] [--unchanged]
"""

import argparse
import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
LIBRARIES = ("pytest", "torch", "pytorch_lightning", "torchmetrics", "timm", "hydra", "scipy.stats")
"""Imported once, before the processes that run the tests are forked; the package is not."""


def fails(tests: Iterable[str], copy: Path) -> bool:
    """Return whether a default test fails on a copy of the package; say which.

    Args:
        tests: paths below `tests`.
        copy: folder of a copy of `src`; `conf` lies beside it.

    Raises:
        RuntimeError: the tests did not run.
    """
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not device"]
    log = copy.parent / "log"
    pid = os.fork()
    if not pid:
        status = 70
        try:
            place = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(place, 1)
            os.dup2(place, 2)
            status = run([*options, *(f"tests/{name}" for name in tests)], copy)
        finally:
            os._exit(status)
    _, how = os.waitpid(pid, 0)
    status, said = os.waitstatus_to_exitcode(how), log.read_text(encoding="utf-8")
    if status not in (0, 1):
        raise RuntimeError(f"pytest ended with {status}:\n{said[-2000:]}")
    for line in said.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            print(f"    {line}"[:160])
    return status == 1


def run(arguments: list[str], copy: Path) -> int:
    """Run pytest on a copy of the package and return its exit status."""
    import pytest

    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = str(copy)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(copy))
    status = int(pytest.main(arguments))
    sys.stdout.flush()
    package = sys.modules["medrobust"].__file__ or ""
    return status if package.startswith(str(copy)) else 71


def found(mutant: Mutant, copy: Path) -> bool:
    """Return whether a default test fails on the package with the mistake."""
    path = copy / "medrobust" / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return fails(mutant.tests, copy)
    finally:
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """Run all mistakes; the exit status is 1 if one was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="part of the names of the files to change")
    parser.add_argument(
        "--unchanged", action="store_true", help="first run the tests on a copy without a mistake"
    )
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # the pool of more does not survive a fork
    for name in LIBRARIES:
        importlib.import_module(name)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        for name in ("src", "conf"):
            shutil.copytree(ROOT / name, Path(folder) / name)
        chosen = [mutant for mutant in MUTANTS if options.only in mutant.file]
        tests = dict.fromkeys(name for mutant in chosen for name in mutant.tests)
        if options.unchanged and fails(tests, copy):
            parser.error("the tests fail without a mistake, so they find none")
        for number, mutant in enumerate(chosen, 1):
            caught = found(mutant, copy)
            missed += not caught
            mark = "found " if caught else "MISSED"
            print(f"{number:3} {mark} {mutant.file}: {mutant.old!r} -> {mutant.new!r}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} found")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
