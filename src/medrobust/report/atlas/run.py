"""Make the rows of the atlas within a budget: `python -m medrobust.report.atlas.run --hours 8`."""

import argparse
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from medrobust.report.atlas.build import write
from medrobust.report.atlas.config import ABOUT, AtlasError, read_about, read_plan
from medrobust.report.bundle.pack import pack
from medrobust.report.sweep import SweepError, collect

SWEEPS = Path("outputs/atlas")
"""Folder of the sweeps, relative to the working folder; a later run resumes them."""

_GRACE = 60
"""Seconds that a command gets to end after the signal of its budget's end."""

Call = Callable[[Sequence[str], float], int | None]
"""Runs arguments of `medrobust` for some seconds; the exit status, or None if they ran out."""


def run(atlas: Path, names: Sequence[str], seconds: float, call: Call) -> list[str]:
    """Train and evaluate tables in turn until the budget is spent, and publish what is there.

    A table that the budget cuts short is published with the cells that it has; the next run goes
    on with them.

    Args:
        atlas: folder of the atlas.
        names: tables in their order; empty for all of `plan.yaml`.
        seconds: budget of all of them.
        call: runs a command.

    Returns:
        One line for each table.

    Raises:
        AtlasError: a table is not in the plan.
    """
    plan = read_plan(atlas)
    odd = [name for name in names if name not in plan]
    if odd:
        raise AtlasError(f"{odd} are not in {atlas / 'plan.yaml'}, expected some of {plan}")
    end, lines = time.monotonic() + seconds, []
    for name in names or plan:
        if time.monotonic() >= end:
            lines.append(f"{name}: not reached")
            continue
        lines.append(f"{name}: {_table(atlas, name, end, call)}")
    write(atlas)
    return lines


def _table(atlas: Path, name: str, end: float, call: Call) -> str:
    about = read_about(atlas / name / ABOUT)
    for words in about.train:
        status = call(["train", *shlex.split(words)], end - time.monotonic())
        if status != 0:
            return "its training did not end" if status is None else "its training failed"
    sweep = SWEEPS / name
    given = shlex.split(about.evaluate)
    call(["evaluate", "-m", *given, f"hydra.sweep.dir={sweep}"], end - time.monotonic())
    try:
        found = collect(sweep)
    except SweepError as error:
        return str(error)
    if not found.rows:
        return "no cell was done"
    pack(found, atlas / name)
    return f"{len(found.rows)} of {found.jobs - found.shared} cells"


def command(arguments: Sequence[str], seconds: float) -> int | None:
    """Run `medrobust` as a process, and interrupt it after some seconds.

    Returns:
        Its exit status, or None if it was interrupted.
    """
    with subprocess.Popen([sys.executable, "-m", "medrobust", *arguments]) as process:
        try:
            return process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
            return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, or 2 if the atlas is not sound."""
    parser = argparse.ArgumentParser(
        prog="python -m medrobust.report.atlas.run",
        description="Train, evaluate and publish the tables of the atlas, in the order of its "
        "plan, until the budget is spent. Run it again to go on.",
    )
    parser.add_argument("tables", nargs="*", metavar="PAPER/TABLE", help="default: all")
    parser.add_argument("--hours", type=float, required=True, help="budget of this run")
    parser.add_argument("--atlas", type=Path, default=Path("atlas"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    try:
        lines = run(given.atlas, given.tables, 3600 * given.hours, command)
    except ValueError as error:  # AtlasError, BundleError, TableError: each names the fix
        print(f"atlas: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
