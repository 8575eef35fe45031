"""Rebuild a sweep's table from its rows: `medrobust report SWEEP_FOLDER`."""

import argparse
import sys
from collections.abc import Sequence

from medrobust.report.sweep import collect
from medrobust.report.write import FORMATS, report


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="medrobust report",
        description="Rebuild the table and the page of a sweep from its rows without computing "
        "anything again. The same rows give the same files, byte for byte. A sweep that was "
        "killed works too.",
        epilog="Exit status: 0 all cells done, 1 a cell failed or is missing, 2 no table.",
    )
    made.add_argument("folder", metavar="SWEEP_FOLDER", help="folder written by `evaluate -m`")
    made.add_argument(
        "--metric",
        help="show another metric of the rows, such as balanced_accuracy; the paper's numbers "
        "stay only if it prints this metric",
    )
    made.add_argument(
        "--rows", metavar="FOLDER", help="folder of the rows (default: where they were written)"
    )
    made.add_argument(
        "--out", metavar="FOLDER", help="folder for the files (default: the sweep folder)"
    )
    made.add_argument(
        "--format",
        choices=["rich", *FORMATS, "all"],
        default="all",
        help="rich prints the table and writes nothing; html writes report.html, others "
        "table.<format>; csv also images.csv, a line for every image of every cell, and "
        "differences.csv, a line for every test of two defenses; all prints and writes every file",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: arguments without the program's name; by default those of the process.

    Returns:
        Exit status: 0, 1 when a cell failed or is missing, 2 when no table can be made.
    """
    given = parser().parse_args(arguments)
    formats = {"rich": (), "all": FORMATS}.get(given.format, (given.format,))
    show = given.format in ("rich", "all")
    try:
        sweep = collect(given.folder, given.rows)
        return report(sweep, out=given.out, formats=formats, show=show, metric=given.metric)
    except ValueError as error:  # TableError, PaperError, SweepError: each message names the fix
        print(f"table: {error}", file=sys.stderr)
        return 2
