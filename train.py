"""Train a victim or a defense, as `medrobust train` does; see `python train.py --help`."""

from medrobust.cli.train import main

if __name__ == "__main__":
    main()
