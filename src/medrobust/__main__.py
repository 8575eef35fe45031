"""`python -m medrobust`, the same as the command `medrobust`."""

import sys

from medrobust.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
