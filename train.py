"""Train a victim, `python train.py data=dermamnist model=resnet18`, or a defense, `defense=sr`.

`python train.py --help` shows every choice; `--cfg job` shows the composed config.
"""

import hydra
from omegaconf import DictConfig

from medrobust.resolvers import register
from medrobust.signals import end_with_launcher

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    """Run the training of this config."""
    from medrobust.training.job import run_training  # heavy: not needed for --help

    run_training(config)


if __name__ == "__main__":
    end_with_launcher()
    main()
