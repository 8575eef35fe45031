"""Evaluate cells, as `medrobust evaluate` does; see `python evaluate.py --help`."""

from medrobust.cli.evaluate import main

if __name__ == "__main__":
    main()
