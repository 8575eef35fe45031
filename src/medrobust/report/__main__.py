"""Rebuild a sweep's table from its rows: `python -m medrobust.report SWEEP_FOLDER`."""

import argparse
import sys
from collections.abc import Sequence

from medrobust.report.sweep import collect
from medrobust.report.write import FORMATS, report


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line.

    Args:
        arguments: without the program's name; default those of the process.

    Returns:
        Exit status: 0, 1 when a cell failed or is missing, 2 when no table can be made.
    """
    parser = argparse.ArgumentParser(
        prog="python -m medrobust.report",
        description="Rebuild the table and the page of a sweep from its rows; nothing is computed "
        "again. The same rows give the same files, byte for byte. Works on a sweep that was "
        "killed, too.",
        epilog="Exit status: 0 all cells done, 1 a cell failed or is missing, 2 no table.",
    )
    parser.add_argument("folder", metavar="SWEEP_FOLDER", help="folder that evaluate.py -m wrote")
    parser.add_argument(
        "--metric",
        help="a metric of the rows, such as balanced_accuracy, instead of the table's own; the "
        "paper's numbers stay only when it prints this metric",
    )
    parser.add_argument(
        "--rows", metavar="FOLDER", help="where the rows lie now (default: where they were written)"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help="where to write the files (default: the sweep folder)"
    )
    parser.add_argument(
        "--format",
        choices=["rich", *FORMATS, "all"],
        default="all",
        help="rich prints the table and writes nothing; html writes report.html, others "
        "table.<format>; all prints and writes every file",
    )
    given = parser.parse_args(arguments)
    formats = {"rich": (), "all": FORMATS}.get(given.format, (given.format,))
    show = given.format in ("rich", "all")
    try:
        sweep = collect(given.folder, given.rows)
        return report(sweep, out=given.out, formats=formats, show=show, metric=given.metric)
    except ValueError as error:  # TableError, PaperError, SweepError: all say what mends them
        print(f"table: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
