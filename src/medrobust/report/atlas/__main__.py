"""Rebuild the pages of the atlas: `python -m medrobust.report.atlas [FOLDER]`."""

import argparse
import sys
from collections.abc import Sequence

from medrobust.report.atlas.build import write


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages and return the exit status: 0, or 2 if the atlas is not sound."""
    parser = argparse.ArgumentParser(prog="python -m medrobust.report.atlas", description=__doc__)
    parser.add_argument("folder", nargs="?", default="atlas", help="default: %(default)s")
    given = parser.parse_args(arguments)
    try:
        changed = write(given.folder)
    except ValueError as error:  # AtlasError, BundleError, TableError: each names the fix
        print(f"atlas: {error}", file=sys.stderr)
        return 2
    print("\n".join(f"wrote {path}" for path in changed) or "every page is as its rows say")
    return 0


if __name__ == "__main__":
    sys.exit(main())
