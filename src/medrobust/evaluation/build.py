"""Build the objects of a cell from a composed config; keep data and victims between cells."""

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from medrobust.attack.core.base import Attack
from medrobust.code.module import owner
from medrobust.configured import Configured
from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.image_set import ImageSet, load
from medrobust.defense.core.base import Defense
from medrobust.defense.core.detector import Detector
from medrobust.defense.core.learned import learners
from medrobust.devices import check_devices
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.operating_point import check_operating_point
from medrobust.metric.operating_point import operating_rule
from medrobust.model.core.checkpoint import TrainedVictim, load_victim
from medrobust.target import targets
from medrobust.threat.base import Threat
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import Surrogate
from medrobust.training.command import defense_command, expected_victim, train_command

if TYPE_CHECKING:
    from medrobust.evaluation.batches.shard import Shards

Part = TypeVar("Part", bound=Configured)


def parts_of(
    config: DictConfig,
    choices: dict[str, str],
    overrides: list[str],
    device: torch.device,
) -> tuple[Cell, Threat]:
    """Build the cell of a config: load, fit and freeze all that it evaluates.

    Args:
        config: composed and checked.
        choices: name of what was chosen in each config group, for the commands in errors.
        overrides: of the command line, for the same.
        device: of victim and defense.

    Returns:
        The cell, and the threat that made its surrogate.
    """
    data, clean = data_and_images(config)
    check_operating_point(config.operating_point, config.split, clean.labels)
    phantom = data.phantom
    command = train_command(
        *(choices, overrides, config.victim_seed),
        phantom=phantom,
        settings=config.get("victim_training"),
    )
    victim = victim_of(config, data, command, device)
    defense = made(config.defense, Defense, "defense").to(device)  # type: ignore[type-abstract]
    for learned in learners(defense):
        of_victim = config.victim_seed if learned.needs_victim else None
        learned.train_command = defense_command(
            *(choices, overrides, learned.seed, of_victim),
            phantom=phantom,
            settings=config.get("defense_training"),
        )
    if config.rerun is True:
        for part in defense.modules():
            if isinstance(part, Detector):
                part.fits = None  # learned anew
    defense.fit(victim, data)
    threat = made(config.threat, Threat, "threat")  # type: ignore[type-abstract]
    cell = Cell(
        victim=victim,
        defense=defense,
        surrogate=in_precision(threat(victim, defense), config.precision),
        attack=made(config.attack, Attack, "attack"),  # type: ignore[type-abstract]
        clean=clean,
        classes=data.num_classes,
        seed=config.seed,
        quantize=config.quantize,
        data=data,
        perturbation=config.perturbation,
        defender_draws=config.defender_draws,
        operating_point=operating_rule(config.operating_point),
        validation=None if config.operating_point is None else validation_images(config),
    )
    return cell, threat


def data_and_images(config: DictConfig) -> tuple[MedicalDataModule, ImageSet]:
    """The datamodule and the images of the evaluated split."""
    plain = OmegaConf.to_container(config.data, resolve=True)
    return _data(json.dumps(plain), config.split, config.data.workers)


def validation_images(config: DictConfig) -> ImageSet:
    """Return the clean validation images, on which operating points are chosen."""
    plain = OmegaConf.to_container(config.data, resolve=True)
    return _data(json.dumps(plain), "val", config.data.workers)[1]


@lru_cache(maxsize=2)
def _data(config: str, split: str, workers: int) -> tuple[MedicalDataModule, ImageSet]:
    data = instantiate(json.loads(config))
    return data, load(data, split, workers=workers)  # type: ignore[arg-type]


def victim_of(
    config: DictConfig, data: MedicalDataModule, train_command: str, device: torch.device
) -> TrainedVictim:
    """The victim of `victim_path` on its device, frozen and accelerated.

    Refused when the file says something else than the row will: another model, objective, seed,
    task, order of classes, or data. On another split its training images could be our test images.

    Raises:
        MissingVictimError: not trained yet; prints the command.
        VictimError: damaged, or another victim.
    """
    path = Path(config.victim_path)
    loaded = _victim(path, _version(path), train_command, device)
    expected_victim(config, data).check(path, loaded.meta, loaded.architecture, train_command)
    return loaded


def surrogate_victim(path: str | Path, train_command: str) -> TrainedVictim:
    """The attacker's own model, as it was trained; the threat moves it to the victim's device.

    Raises:
        MissingVictimError: not trained yet; prints the command.
        VictimError: damaged.
    """
    return _surrogate(Path(path), _version(Path(path)), train_command)


@lru_cache(maxsize=4)
def _victim(
    path: Path, _version: tuple[int, ...], command: str, device: torch.device
) -> TrainedVictim:
    loaded = load_victim(path, train_command=command)
    loaded.to(device).accelerate()
    return loaded


@lru_cache(maxsize=4)
def _surrogate(path: Path, _version: tuple[int, ...], command: str) -> TrainedVictim:
    return load_victim(path, train_command=command)


def _version(path: Path) -> tuple[int, ...]:
    """Tell a checkpoint from another one at the same path, even with equal times of writing.

    The time of the last change of the file's status cannot be set by hand.
    """
    if not path.exists():
        return ()
    found = path.stat()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def devices_of(trainer: DictConfig) -> tuple[torch.device, "Shards | None"]:
    """The device that Lightning Fabric chooses, and the processes of all if there are several.

    Raises:
        ValueError: another precision than float32, or a strategy other than DDP, is set.
        DevicesError: more processes than the machine has processors.
    """
    if trainer.strategy not in ("auto", "ddp"):
        raise ValueError(
            f"trainer.strategy={trainer.strategy}: a cell's images are shared out among the "
            "devices by DDP; set trainer.strategy=auto or ddp"
        )
    if str(trainer.precision) not in ("32", "32-true"):
        raise ValueError(
            f"trainer.precision={trainer.precision}: cells are evaluated in float32, since "
            "rounding decides who is fooled; set trainer.precision=32-true (and precision=bf16 "
            "for faster gradients of the attack)"
        )
    check_devices(trainer.accelerator, trainer.devices)
    return _devices(trainer.accelerator, trainer.devices)


@lru_cache(maxsize=4)
def _devices(accelerator: str, devices: int | str) -> tuple[torch.device, "Shards | None"]:
    from medrobust.evaluation.batches.shard import fabric_for, shards_of

    return fabric_for(accelerator, 1).device, shards_of(accelerator, devices)


def made(node: DictConfig, kind: type[Part], group: str) -> Part:
    """Instantiate a group of the config.

    Its object remembers the modules outside the package that the config names: they may build or
    change what they name.

    Args:
        node: the group.
        kind: class that its object must be of.
        group: name of the group, for the error.

    Raises:
        TypeError: it is something else.
    """
    found = instantiate(node)
    if not isinstance(found, kind):
        raise TypeError(
            f"{group}._target_={node._target_} makes a {type(found).__name__}, expected a "
            f"{kind.__module__}.{kind.__name__}"
        )
    plain = OmegaConf.to_container(node, resolve=True)
    modules = {path.rpartition(".")[0] for path in targets(plain)}
    local = sorted(name for name in modules if owner(name) == "local")
    object.__setattr__(found, "_named_by", tuple(local))
    return found


def in_precision(surrogate: Surrogate, precision: str) -> Surrogate:
    """The surrogate with its gradients in `float32`, or in `bf16`.

    Raises:
        ValueError: another precision.
    """
    if precision == "float32":
        return surrogate
    if precision == "bf16":
        return ReducedPrecision(surrogate)
    raise ValueError(f"precision={precision}, expected float32 or bf16")
