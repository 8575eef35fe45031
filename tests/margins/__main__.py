"""Runs the tests under every processor setting of this machine and prints the margins.

    make test-isa
    python -m tests.margins [--numprocesses 2] [--table margins.md] [paths of tests …]

First the default suite under each instruction set; then, of its tests, those that hold a numeric
threshold, with two threads and with shifted seeds. The exit status is 1 when a test failed or a
margin is nothing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.margins.exempt import SEEDS
from tests.margins.settings import further, instruction_sets
from tests.margins.table import Margin, read, render

ROOT = Path(__file__).parents[2]


def run(environment: Mapping[str, str], measured: Path, options: Sequence[str]) -> int:
    """Run pytest with the plugin; return its exit status."""
    chosen = ["-m", "not slow and not device", "-p", "tests.margins.plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *chosen]
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    fixed = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "MARGINS": str(measured)}
    everything = {**os.environ, **environment, **fixed}
    done = subprocess.run([*command, *options], cwd=ROOT, env=everything, check=False)
    return done.returncode


def main() -> int:
    """Run, merge, print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.margins", description=__doc__)
    parser.add_argument(
        "--numprocesses", type=int, default=2, help="processes of pytest-xdist, of one thread each"
    )
    parser.add_argument("--table", type=Path, help="write the whole table here, as Markdown")
    parser.add_argument("paths", nargs="*", help="tests to run instead of all")
    options = parser.parse_args()
    files: dict[str, Path] = {}
    status: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        only = Path(folder) / "only.txt"
        whole = instruction_sets()
        for name, environment in {**whole, **further()}.items():
            files[name] = Path(folder) / f"{name.replace(' ', '_')}.jsonl"
            files[name].touch()
            if name not in whole:
                only.write_text("".join(f"{test}\n" for test in thresholds(files)))
                environment = {**environment, "MARGINS_ONLY": str(only)}
            print(f"== {name}: {environment}", flush=True)
            threads = int(environment.get("OMP_NUM_THREADS", "1"))
            workers = ["--numprocesses", str(max(1, options.numprocesses // threads))]
            status[name] = run(environment, files[name], [*workers, *options.paths])
        found, failed = read(files)
    return tell(found, failed, status, options.table)


def thresholds(files: Mapping[str, Path]) -> list[str]:
    """Return the tests that hold a numeric threshold, of those that ran."""
    return sorted({one.test for one in read(files)[0]})


def tell(
    found: Sequence[Margin],
    failed: Mapping[str, Sequence[str]],
    status: Mapping[str, int],
    table: Path | None,
) -> int:
    """Print what was measured; return 1 when a test failed or a margin is nothing."""
    bad = [one for one in found if one.nothing]
    names = list(status)
    if table is not None:
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(render(found, names))
    else:
        print(render(found, names))
    for start, reason in SEEDS.items():
        print(f"seeds not shifted: {start}: {reason}")
    for name, tests in failed.items():
        print(f"{name}: exit status {status[name]}, {len(tests)} failed", *tests, sep="\n  ")
    print(f"{len(found)} claims in {len({one.test for one in found})} tests")
    print(f"{len(bad)} with a margin of nothing")
    if bad:
        print(render(bad, names))
    return int(bool(bad) or any(status.values()))


if __name__ == "__main__":
    raise SystemExit(main())
