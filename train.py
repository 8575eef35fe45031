"""Train a victim: `python train.py data=dermamnist data.phantom=true model=resnet18`."""

import hydra
from omegaconf import DictConfig

from medrobust.config import register

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    """Build the parts and train; imports are here because `--help` should not wait for them."""
    from hydra.utils import instantiate

    from medrobust.training.recipe import recipe_of
    from medrobust.training.train import train

    train(
        model=lambda classes: instantiate(config.model, num_classes=classes),
        data=instantiate(config.data),
        objective=instantiate(config.objective),
        optimizer=instantiate(config.optimizer),
        scheduler=instantiate(config.scheduler),
        trainer=instantiate(config.trainer),
        logger=instantiate(config.logger),
        checkpoint=config.checkpoint,
        recipe=recipe_of(config),
        seed=config.seed,
        early_stopping=config.early_stopping,
        resume=config.resume,
        overwrite=config.overwrite,
        deterministic=config.deterministic,
        progress_bar=config.progress_bar,
    )


if __name__ == "__main__":
    main()
