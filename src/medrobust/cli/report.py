"""Rebuild a sweep's table from its rows: `medrobust report SWEEP_FOLDER`."""

import argparse
import sys
from collections.abc import Sequence

from medrobust.report.bundle.bundle import is_bundle, read
from medrobust.report.bundle.pack import pack
from medrobust.report.bundle.verify import TOLERANCE, compare, inspect
from medrobust.report.sweep import Sweep, collect
from medrobust.report.write import FORMATS, report


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="medrobust report",
        description="Rebuild the table and the page of a sweep from its rows without computing "
        "anything again. The same rows give the same files, byte for byte. A sweep that was "
        "killed works too.",
        epilog="Exit status: 0 all cells done, or verified; 1 a cell failed, is missing or "
        "differs; 2 no table.",
    )
    made.add_argument(
        "folder", metavar="SWEEP_FOLDER", help="folder written by `evaluate -m`, or a bundle"
    )
    made.add_argument(
        "--bundle",
        metavar="FOLDER",
        help="write the rows and the records of their images to this folder, to be published; "
        "every row must be done, of real data and made by one committed state of the code",
    )
    made.add_argument(
        "--verify",
        metavar="BUNDLE",
        nargs="?",
        const="",
        help="compare the sweep with this bundle, row by row: ids equal, proportions within the "
        "tolerance; without BUNDLE, check that SWEEP_FOLDER is a sound bundle",
    )
    made.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        help="largest difference of a proportion with --verify (default: %(default)s)",
    )
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
        if given.verify is not None:
            return _verify(given)
        sweep = _sweep(given.folder, given.rows)
        if given.bundle:
            print(f"wrote {pack(sweep, given.bundle)}")
            return 0
        return report(sweep, out=given.out, formats=formats, show=show, metric=given.metric)
    except ValueError as error:  # TableError, PaperError, SweepError: each message names the fix
        print(f"table: {error}", file=sys.stderr)
        return 2


def _sweep(folder: str, rows: str | None) -> Sweep:
    return read(folder).sweep if is_bundle(folder) else collect(folder, rows)


def _verify(given: argparse.Namespace) -> int:
    """Print what differs, and return 0 if nothing does, else 1."""
    bundle = read(given.verify or given.folder)
    found = inspect(bundle)
    said = f"{len(bundle.sweep.rows)} rows are sound"
    if given.verify:
        found += compare(_sweep(given.folder, given.rows), bundle, given.tolerance)
        said = f"{len(bundle.sweep.rows)} rows agree: ids equal, within {given.tolerance:g}"
    for line in found:
        print(f"✗ {line}", file=sys.stderr)
    print(said if not found else f"{len(found)} differences")
    return 1 if found else 0
