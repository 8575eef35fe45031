"""Puts every mistake into a copy of the package and runs the tests that are to find it.

python -m tests.mutants [--only PART_OF_A_FILE_NAME] [--unchanged]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]


def fails(tests: Iterable[str], copy: Path) -> bool:
    """Return whether a default test fails on a copy of the package.

    Args:
        tests: paths below `tests`.
        copy: folder of a copy of `src`; `conf` lies beside it.

    Raises:
        RuntimeError: the tests did not run.
    """
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not device"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(f"tests/{name}" for name in tests)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}")
    for line in done.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")):
            print(f"    {line}"[:160])
    return done.returncode == 1


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
