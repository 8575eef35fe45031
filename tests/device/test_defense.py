"""Every defense of conf/defense on the device: fitted, deployed, and in front of an attacker."""

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from medrobust.attack.core.goal import Goal
from medrobust.attack.criterion.by_task import BY_TASK
from medrobust.attack.loss.by_task import ByTask
from medrobust.defense.core.base import Defense
from medrobust.defense.core.detector import Detector
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.task import task_of
from medrobust.threat.adaptive import Adaptive
from tests.attack.conftest import PixelNet, make_victim
from tests.defense.test_suite import CLASSES, CONF, NAMES, build, draw, toy_victim
from tests.device.conftest import Entry
from tests.support import boxes
from tests.support.clinic import SplitData
from tests.support.device.compare import check_close, check_prediction, moved

pytestmark = pytest.mark.device

COUNT = 4


def classes() -> tuple[Victim, Tensor, Tensor]:
    x = draw(COUNT, 3, 16, 16)[0]
    return toy_victim(), x, toy_victim()(x).argmax(1)


def masks() -> tuple[Victim, Tensor, Tensor]:
    victim, x = make_victim(PixelNet()), draw(COUNT, 3, 16, 16)[0]
    with torch.no_grad():
        return victim, x, victim(x).argmax(1)


def with_boxes() -> tuple[Victim, Tensor, Tensor]:
    return boxes.detector(), boxes.pictures(2), boxes.answered(2)


TASKS: dict[str, Callable[[], tuple[Victim, Tensor, Tensor]]] = {
    "classes": classes,
    "masks": masks,
    "boxes": with_boxes,
}


def check(defense: Defense, task: str, device: torch.device, entry: Entry) -> None:
    """Answers, views, gradients of the device are the CPU's, and so are refusals."""
    victim, x, y = TASKS[task]()
    seeds = draw(len(x), 3, 16, 16)[1]
    try:
        expected = [call(x, y, seeds, victim, defense) for call in (answer, gradient)]
    except (ValueError, TypeError, KeyError) as error:
        expected = [error]
    there = [part.to(device) for part in (x, y, seeds)]
    parts = moved(victim, device), moved(defense, device)
    if isinstance(expected[0], Exception):
        entry.refused(expected[0])
        with pytest.raises(type(expected[0])):
            answer(*there, *parts), gradient(*there, *parts)
        return
    (seen, shown), (loss, grad) = expected
    found, view = answer(*there, *parts)
    check_prediction(found, seen, device)
    check_close(view, shown, device)
    for value, wanted in zip(gradient(*there, *parts), (loss, grad), strict=True):
        check_close(value, wanted, device, atol=1e-2)


def answer(
    x: Tensor, y: Tensor, seeds: Tensor, victim: Victim, defense: Defense
) -> tuple[Prediction, Tensor]:
    """The deployed system's answer, and what the victim is shown."""
    with torch.no_grad():
        return defense(x, victim, seeds=seeds), defense.view(x, seeds=seeds)


def gradient(
    x: Tensor, y: Tensor, seeds: Tensor, victim: Victim, defense: Defense
) -> tuple[Tensor, Tensor]:
    """An adaptive attacker's loss and gradient."""
    goal = Goal(ByTask(), BY_TASK[task_of(y)](), y)
    seen = Adaptive(eot_samples=2)(victim, defense).value_and_grad(x, goal, seeds=seeds)
    return seen.loss, seen.grad


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_defense(name: str, task: str, device: torch.device, entry: Entry) -> None:
    entry("defense", task)
    check(build(name), task, device, entry)


DETECTORS = sorted(name for name in NAMES if isinstance(build(name), Detector))


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_fitted_alike(name: str, device: torch.device, entry: Entry) -> None:
    entry("defense", "fit of a detector")
    there = moved(build(name), device)
    splits = {
        split: (draw(count, 3, 16, 16)[0], torch.arange(count) % CLASSES)
        for split, count in (("train", 60), ("val", 40))
    }
    Detector.fit(there, moved(toy_victim(), device), SplitData(splits))
    expected = build(name).state_dict()
    for key, value in there.state_dict().items():
        check_close(value, expected[key], device, atol=1e-2)


def parts(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / "defense" / group).glob("*.yaml"))


@cache
def assembled(*overrides: str) -> Defense:
    """A vote of few copies, of parts chosen by overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[*overrides, "+copies=12", "+stopping=fixed"])
    defense = instantiate(OmegaConf.to_container(config.defense, resolve=True))
    assert isinstance(defense, Defense)
    return defense


SEQUENTIAL = ["defense.stopping=sequential", "defense.copies=300"]  # enough for interim looks
VOTES = {
    **{f"noise {name}": ["+defense=medrdf", f"defense/noise={name}"] for name in parts("noise")},
    **{
        f"denoiser {name}": ["+defense=medrdf", f"defense/denoiser={name}"]
        for name in ("none", "gaussian", "median")
    },
    "sequential": ["+defense=medrdf", *SEQUENTIAL],
    "sequential, label": ["+defense=medrdf", *SEQUENTIAL, "defense.decide=label"],
}


@pytest.mark.parametrize("name", VOTES)
def test_vote(name: str, device: torch.device, entry: Entry) -> None:
    entry("defense", "vote of other parts")
    check(assembled(*VOTES[name]), "classes", device, entry)


def test_a_copy_comes_back_from_the_device(device: torch.device) -> None:
    """A copy that was moved back gives the view that a row's pictures show."""
    for name in NAMES:
        there = moved(build(name), device)
        back = copy.deepcopy(there).cpu()
        x, seeds = draw(COUNT, 3, 16, 16)
        with torch.no_grad():
            assert torch.equal(back.view(x, seeds=seeds), build(name).view(x, seeds=seeds)), name
