"""`medrobust unpack`: unpack a download, never outside its folder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="medrobust unpack",
        description="Unpack a downloaded zip or tar. Paths that lead out of the folder, links and "
        "devices are refused before anything is written.",
    )
    made.add_argument("archive", type=Path)
    made.add_argument("folder", type=Path, help="usually data/<dataset>")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0, or 2 when refused.

    Args:
        arguments: arguments without the program's name; by default those of the process.
    """
    given = parser().parse_args(arguments)
    from medrobust.data.core.archive import unpack  # heavy
    from medrobust.data.core.error import DataError

    try:
        written = unpack(given.archive, given.folder)
    except (DataError, OSError) as error:
        print(f"unpack: {error}", file=sys.stderr)
        return 2
    print(f"{len(written)} files in {given.folder}")
    return 0
