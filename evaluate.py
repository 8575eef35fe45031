"""Evaluate one cell, or with -m the whole matrix: attacks × threats × defenses on a victim.

`python evaluate.py --help` shows every choice; `--cfg job` shows the composed config.
"""

import hydra
from omegaconf import DictConfig

from medrobust.resolvers import register
from medrobust.signals import stop_on_sigterm

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> float | None:
    """Run the cell of this config."""
    from medrobust.evaluation.run import run_cell  # heavy: not needed for --help

    return run_cell(config)


if __name__ == "__main__":
    stop_on_sigterm()
    main()
