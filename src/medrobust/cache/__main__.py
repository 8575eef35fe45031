"""Look after the cache: `python -m medrobust.cache list|verify|prune`."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: str) -> float:
    """Seconds in `90m`, `12h`, `30d` or `2w`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number and m, h, d or w, as in 30d")
    return float(match[1]) * _UNITS[match[2]]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--cache",
        type=Path,
        default=Path("outputs/cache"),
        metavar="DIR",
        help="folder of cached sets (default: %(default)s)",
    )
    common.add_argument(
        "--rows",
        type=Path,
        action="append",
        metavar="DIR",
        help="folder of rows; give it again for every folder whose sweeps use this cache "
        "(default: outputs/rows)",
    )
    top = argparse.ArgumentParser(
        prog="python -m medrobust.cache",
        description="Adversarial sets and answers that sweeps keep: what is there, is it sound, "
        "what may go. Anything removed is made again when a cell needs it.",
        epilog="Exit status: 0 fine, 1 verify found damage, 2 not done (see the message).",
    )
    actions = top.add_subparsers(dest="action", required=True, metavar="list|verify|prune")
    actions.add_parser("list", parents=[common], help="key, kind, size, age, rows that refer to it")
    actions.add_parser("verify", parents=[common], help="read every byte, compare the checksums")
    prune = actions.add_parser(
        "prune", parents=[common], help="remove what no row refers to, and what is damaged"
    )
    prune.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")
    prune.add_argument(
        "--older-than",
        type=seconds,
        default=0.0,
        metavar="AGE",
        help="leave sound files that are younger, as 90m, 12h, 30d, 2w",
    )
    prune.add_argument(
        "--all", action="store_true", help="also what rows refer to; the rows themselves stay"
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line.

    Args:
        arguments: without the program's name; default those of the process.

    Returns:
        Exit status: 0, 1 when `verify` found damage, 2 when nothing was done.
    """
    given = parser().parse_args(arguments)
    from medrobust.cache.command import NotDoneError, list_, prune, verify  # heavy

    folders = given.rows or [Path("outputs/rows")]
    try:
        if given.action == "list":
            return list_(given.cache, folders)
        if given.action == "verify":
            return verify(given.cache, folders)
        return prune(
            given.cache,
            folders,
            older_than=given.older_than,
            referenced=given.all,
            dry_run=given.dry_run,
        )
    except NotDoneError as error:
        print(f"cache: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
