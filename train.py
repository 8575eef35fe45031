"""Train a victim: `python train.py data=dermamnist data.phantom=true model=resnet18`,
or a defense: `python train.py defense=comdefend data=dermamnist`.
"""

import hydra
from omegaconf import DictConfig

from medrobust.config import register

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    """Build the parts and train; imports are here because `--help` should not wait for them."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.utils import instantiate

    from medrobust.evaluation.parts import train_command
    from medrobust.model.checkpoint import load_victim
    from medrobust.training.defense import train_defense
    from medrobust.training.recipe import recipe_of
    from medrobust.training.train import train

    data = instantiate(config.data)
    how = {
        "data": data,
        "optimizer": instantiate(config.optimizer),
        "scheduler": instantiate(config.scheduler),
        "trainer": instantiate(config.trainer),
        "logger": instantiate(config.logger),
        "checkpoint": config.checkpoint,
        "seed": config.seed,
        "early_stopping": config.early_stopping,
        "resume": config.resume,
        "overwrite": config.overwrite,
        "deterministic": config.deterministic,
        "progress_bar": config.progress_bar,
    }
    if config.get("defense") is None:
        train(
            model=lambda classes: instantiate(config.model, num_classes=classes),
            objective=instantiate(config.objective),
            recipe=recipe_of(config),
            **how,
        )
        return
    job = HydraConfig.get()
    command = train_command(
        dict(job.runtime.choices), list(job.overrides.task), config.victim_seed
    )
    train_defense(
        defense=lambda: instantiate(config.defense),
        victim=lambda: load_victim(
            config.victim_path,
            train_command=command,
            num_classes=data.num_classes,
            data_digest=data.manifest.digest,
        ),
        recipe=recipe_of(config, parts=()),
        **how,
    )


if __name__ == "__main__":
    main()
