"""`medrobust train`: train a victim, or a defense that has weights."""

import hydra
from omegaconf import DictConfig

from medrobust.cli.conf import conf_folder
from medrobust.resolvers import register
from medrobust.signals import end_with_launcher

register()


@hydra.main(version_base="1.3", config_path=conf_folder(), config_name="train")
def _app(config: DictConfig) -> None:
    from medrobust.training.job import run_training  # heavy: not needed for --help

    run_training(config)


def main() -> None:
    """Run the command line of `sys.argv`."""
    end_with_launcher()
    _app()
