"""A phantom and an untrained victim of it, made in a second."""

from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from medrobust.model.core.checkpoint import VictimMeta, save_victim
from medrobust.resolvers import register

CONF = Path(__file__).resolve().parents[2] / "conf"


def make(root: Path) -> list[str]:
    """Write the phantom and the victim under `root`; the overrides that name them."""
    common = [
        f"paths.root={root}",
        "trainer=cpu",
        "data=dermamnist",
        "data.phantom=true",
        "data.phantom_n=140",
        "data.limit_test=12",
        "model=resnet18",
        "model.network=test_resnet",  # timm's smallest
        "logger=none",
    ]
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("evaluate", overrides=common)
    data = instantiate(config.data)
    torch.manual_seed(0)
    described = {k: v for k, v in config.model.items() if k != "_target_"}
    victim = instantiate({"_target_": config.model._target_, **described}, data.num_classes)
    meta = VictimMeta(
        data=data.name,
        data_key=data.key,
        data_digest=data.manifest.digest,
        phantom=True,
        task=data.task,
        classes=list(data.classes),
        seed=0,
        epochs=1,
        best_epoch=0,
        recipe={"objective": OmegaConf.to_container(config.objective, resolve=True)},
    )
    save_victim(config.victim_path, victim.freeze(), meta)
    return common
