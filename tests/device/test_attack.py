"""Every attack of conf/attack on the device, under every threat and task that takes it."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.crafted import Crafted
from medrobust.attack.core.norm import distance
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.base import Defense
from medrobust.defense.feature_squeezing import FeatureSqueezing
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.resolvers import register
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.base import Threat
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.oblivious import Oblivious
from medrobust.threat.surrogate import Surrogate
from medrobust.threat.transfer import Transfer
from tests.attack.conftest import PixelNet, make_victim
from tests.attack.test_config import ATTACKS, CONF, OBJECTIVES, VARIANTS
from tests.device.conftest import Entry
from tests.support import boxes
from tests.support.clinic import SplitData, clinic
from tests.support.device.compare import moved
from tests.support.helpers import small_cnn

pytestmark = pytest.mark.device

COUNT = 5
FEW: dict[str, Any] = {
    **{"steps": 3, "after": [2], "restarts": 2, "binary_search_steps": 2, "targets": 2},
    **{"queries": 40, "samples": 3, "starts": 20, "chunk": 64, "neighbours": 2, "copies": 2},
    **{"epochs": 1, "batch": 16, "images": 30, "per_class": 20, "components": 2, "max_iter": 3},
}
"""Smaller than in the configs: every line of an attack is still run."""
INSTEAD: dict[str, dict[str, Any]] = {
    "external/pyautoattack": {"arguments": {"version": "custom", "attacks": ["apgd-ce", "square"]}}
}
"""Overrides that a config needs for images of three classes."""
CPU = torch.device("cpu")


class Scene(NamedTuple):
    """A surrogate with images, labels and seeds, all on one device, and data to learn from."""

    surrogate: Surrogate
    x: Tensor
    y: Tensor
    seeds: Tensor
    data: Any = None


def of_clinic(threat: Threat, defense: Defense, device: torch.device) -> Scene:
    victim = moved(clinic().victim, device)
    defense = moved(defense, device)
    defense.fit(victim, clinic().data)
    defense.eval()
    few = (clinic().clean[:COUNT], clinic().labels[:COUNT], clinic().seeds[:COUNT])
    return Scene(threat(victim, defense), *(part.to(device) for part in few), clinic().data)


def masks(device: torch.device) -> Scene:
    victim = moved(make_victim(PixelNet()), device)
    x = torch.rand(COUNT, 3, 16, 16, generator=torch.Generator().manual_seed(8))
    y = make_victim(PixelNet())(x).argmax(1)
    seeds = torch.arange(COUNT, device=device)
    data = split("segmentation", x, y)
    return Scene(Oblivious()(victim, NoDefense()), x.to(device), y.to(device), seeds, data)


def with_boxes(device: torch.device) -> Scene:
    victim = moved(boxes.detector(), device)
    parts = (boxes.pictures(2), boxes.answered(2), boxes.seeds(2))
    data = split("detection", *parts[:2])
    return Scene(Oblivious()(victim, NoDefense()), *(part.to(device) for part in parts), data)


def split(task: str, x: Tensor, y: Tensor) -> SplitData:
    """The images as their own training split."""
    data = SplitData({"train": (x, y)})
    data.task = task
    return data


def other() -> Victim:
    """The attacker's own model, still on the CPU: the threat moves it."""
    return small_cnn(classes=3)


RANDOM = MedRDF(GaussianNoise(0.02), Median(3), copies=4)
SCENES: dict[str, Callable[[torch.device], Scene]] = {
    "oblivious": lambda device: of_clinic(Oblivious(), NoDefense(), device),
    "transfer": lambda device: of_clinic(Transfer(other()), NoDefense(), device),
    "adaptive": lambda device: of_clinic(Adaptive(eot_samples=2), RANDOM, device),
    "adaptive, detector": lambda device: of_clinic(
        Adaptive(), FeatureSqueezing([BitDepth(5), Median(3)]), device
    ),
    "blackbox": lambda device: of_clinic(BlackBox(), Median(3), device),
    "blackbox, labels": lambda device: of_clinic(BlackBox("labels"), RANDOM, device),
    "masks": masks,
    "boxes": with_boxes,
}
NAMES = [*ATTACKS, *VARIANTS]


def build(name: str, *overrides: str) -> Attack:
    """The config's attack, with few steps."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+attack={name}", *overrides]).attack
    for node in (config, config.get("arguments"), config.get("loss")):
        for key in FEW.keys() & (node or {}).keys():
            node[key] = FEW[key]
    if name in INSTEAD:
        config = OmegaConf.merge(config, INSTEAD[name])
    attack = instantiate(config)
    assert isinstance(attack, Attack)
    return attack


def crafted(attack: Attack, scene: Scene) -> Crafted:
    if attack.learns:
        attack.fit(scene.surrogate, scene.data)
    return attack.craft(scene.surrogate, scene.x, scene.y, seeds=scene.seeds)


@cache
def on_cpu(name: str, case: str, *overrides: str) -> Crafted | Exception:
    """Return the CPU's images, or the error by which the attack refuses the case."""
    try:
        return crafted(build(name, *overrides), SCENES[case](CPU))
    except (AttackError, ValueError) as error:
        return error
    except RuntimeError as error:
        if "threat=blackbox shows answers only" not in str(error):
            raise
        return error


def check(name: str, case: str, device: torch.device, entry: Entry, *overrides: str) -> None:
    """The device makes what the CPU does, and refuses what the CPU does."""
    expected = on_cpu(name, case, *overrides)
    attack, scene = build(name, *overrides), SCENES[case](device)
    if isinstance(expected, Exception):
        entry.refused(expected)
        with pytest.raises(type(expected)):
            crafted(attack, scene)
        return
    found = crafted(attack, scene)
    assert found.images.device == device
    if device.type == "fake":
        assert torch.equal(found.images.cpu(), expected.images)
        assert (found.queries is None) == (expected.queries is None)
        assert found.queries is None or torch.equal(found.queries.cpu(), expected.queries)
        return
    if attack.eps is not None:
        assert (distance(scene.x, found.images, attack.norm) <= attack.eps * (1 + 1e-5)).all()
    if scene.y.ndim == 1:
        wrong = [
            (victim(images).argmax(1).cpu() != scene.y.cpu()).sum()
            for victim, images in (
                (moved(clinic().victim, device), found.images),
                (clinic().victim, expected.images),
            )
        ]
        assert abs(int(wrong[0]) - int(wrong[1])) <= 2


@pytest.mark.parametrize("case", SCENES)
@pytest.mark.parametrize("name", NAMES)
def test_attack(name: str, case: str, device: torch.device, entry: Entry) -> None:
    entry("attack", case)
    refused = isinstance(on_cpu(name, case), Exception)
    if name == "external/art" and device.type == "fake" and not refused:
        entry.refused("ART knows no devices but CUDA's and the CPU")
        with pytest.raises(RuntimeError):
            crafted(build(name), SCENES[case](device))
        return
    check(name, case, device, entry)


@pytest.mark.parametrize("name", NAMES)
def test_no_attack_is_refused_everywhere(name: str) -> None:
    assert not all(isinstance(on_cpu(name, case), Exception) for case in SCENES)


@pytest.mark.parametrize("case", ["oblivious", "adaptive, detector", "masks", "boxes"])
@pytest.mark.parametrize("loss", OBJECTIVES)
def test_loss(loss: str, case: str, device: torch.device, entry: Entry) -> None:
    entry("loss", case)
    check("pgd", case, device, entry, f"attack/loss={loss}")


TARGETS = sorted(path.stem for path in (CONF / "attack/target").glob("*.yaml"))


@pytest.mark.parametrize("case", ["oblivious", "masks"])
@pytest.mark.parametrize("target", TARGETS)
def test_target(target: str, case: str, device: torch.device, entry: Entry) -> None:
    entry("target", case)
    label = ["attack.target.label=1"] if target == "fixed_class" else []
    check("pgd", case, device, entry, f"attack/target={target}", *label)


CRITERIA = {
    "boxes_lost": "boxes",
    "every_anchor": "boxes",
    "every_pixel": "masks",
    "jaccard_below": "masks",
}


@pytest.mark.parametrize(("criterion", "case"), CRITERIA.items())
def test_criterion(criterion: str, case: str, device: torch.device, entry: Entry) -> None:
    entry("criterion", case)
    check("pgd", case, device, entry, f"+attack/criterion={criterion}", "attack.early_stop=true")


SETTINGS: dict[str, tuple[str, ...]] = {
    "autoattack": ("attack.version=rand", "attack.version=plus", "attack.norm=l2"),
    "pgd": ("attack.early_stop=true", "attack.restarts=3"),
    "apgd_ce": ("attack.early_stop=true", "attack.norm=l2"),
    "apgd_t": ("attack.early_stop=true",),
    "joint_pgd": ("attack.early_stop=true",),
    "square": ("attack.norm=l2 attack.eps=1.0", "attack/loss=cross_entropy"),
    "hopskipjump": ("attack.norm=linf", "attack/target=least_likely"),
    "rays": ("attack/target=least_likely",),
    "fab": ("attack.norm=l2 attack.eps=1.0", "attack.early_stop=true"),
    "fab_t": ("attack.norm=l2 attack.eps=1.0",),
    "fmn": ("attack.norm=linf",),
    "deepfool": ("attack.norm=linf", "attack.candidates=null"),
    "cw_l2": ("attack.eps=1.0", "attack.abort_early=false"),
    "ddn": ("attack.levels=256",),
    "dag": ("attack/target@attack.labels=most_likely",),
    "smia": ("attack.through_smoothed=true",),
    "uap": ("attack/target=least_likely", "attack.clip=null"),
    "fea": ("attack.loss.nearest=true",),
    "hfc/pgd": ("attack/target=next_class",),
    "stress/mean": ("attack.loss.direction=down",),
}


@pytest.mark.parametrize("case", ["adaptive, detector", "adaptive", "blackbox", "masks"])
@pytest.mark.parametrize(
    ("name", "settings"), [(name, text) for name, many in SETTINGS.items() for text in many]
)
def test_setting(name: str, settings: str, case: str, device: torch.device, entry: Entry) -> None:
    """Branches that no config takes by default."""
    entry("settings", case)
    check(name, case, device, entry, *settings.split())


@pytest.mark.parametrize(
    ("name", "settings"), [(name, text) for name, many in SETTINGS.items() for text in many]
)
def test_no_setting_is_refused_everywhere(name: str, settings: str) -> None:
    cases = ("adaptive", "adaptive, detector", "blackbox", "masks")
    found = [on_cpu(name, case, *settings.split()) for case in cases]
    assert not all(isinstance(made, Exception) for made in found), found


def test_every_criterion_is_listed() -> None:
    assert sorted(CRITERIA) == sorted(p.stem for p in (CONF / "attack/criterion").glob("*.yaml"))
