"""Maintain the cache: `medrobust cache list|verify|prune`."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: str) -> float:
    """Parse a duration such as `90m`, `12h`, `30d` or `2w` into seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number and m, h, d or w, as in 30d")
    return float(match[1]) * _UNITS[match[2]]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
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
        help="folder of rows; repeat it for every folder whose sweeps use this cache "
        "(default: outputs/rows)",
    )
    top = argparse.ArgumentParser(
        prog="medrobust cache",
        description="List, verify or prune the adversarial sets and predictions that sweeps keep. "
        "A removed file is recomputed when a cell needs it.",
        epilog="Exit status: 0 success, 1 verify found damage, 2 nothing done (see the message).",
    )
    actions = top.add_subparsers(dest="action", required=True, metavar="list|verify|prune")
    actions.add_parser("list", parents=[common], help="key, kind, size, age, rows that refer to it")
    actions.add_parser("verify", parents=[common], help="read every file and compare checksums")
    prune = actions.add_parser(
        "prune", parents=[common], help="remove damaged files and files that no row refers to"
    )
    prune.add_argument("--dry-run", action="store_true", help="only list the files to remove")
    prune.add_argument(
        "--older-than",
        type=seconds,
        default=0.0,
        metavar="AGE",
        help="keep intact files younger than this, such as 90m, 12h, 30d, 2w",
    )
    prune.add_argument(
        "--all", action="store_true", help="also remove files that rows refer to, but not the rows"
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: arguments without the program's name; by default those of the process.

    Returns:
        Exit status: 0, 1 if `verify` found damage, 2 if nothing was done.
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
