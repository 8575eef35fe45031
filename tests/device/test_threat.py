"""Every threat of conf/threat on the device, with all its settings: values, gradients, answers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from medrobust.attack.core.goal import Goal
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.defense.core.base import Defense
from medrobust.defense.jpeg import JPEG
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.base import Threat
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.oblivious import Oblivious
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import Surrogate
from medrobust.threat.transfer import Transfer
from tests.defense.test_suite import CONF
from tests.device.conftest import Entry
from tests.support.clinic import clinic
from tests.support.device.compare import check_close, moved
from tests.support.helpers import small_cnn

pytestmark = pytest.mark.device

DEFENSES: dict[str, Callable[[], Defense]] = {
    "none": NoDefense,
    "deterministic": Median,
    "straight-through": JPEG,
    "randomized": lambda: MedRDF(GaussianNoise(0.05), Median(), copies=5),
}
THREATS: dict[str, Callable[[], Threat]] = {
    "oblivious": Oblivious,
    "transfer": lambda: Transfer(small_cnn(classes=3)),
    "adaptive": lambda: Adaptive(eot_samples=3),
    "adaptive, BPDA": lambda: Adaptive(eot_samples=3, stand_in="identity"),
    "adaptive, probability": lambda: Adaptive(eot_samples=3, eot="probability", chunk=7),
    "blackbox": BlackBox,
    "blackbox, labels": lambda: BlackBox("labels"),
}


def few(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Five images, labels and seeds."""
    parts = (clinic().clean, clinic().labels, clinic().seeds)
    x, y, seeds = (part[:5].to(device) for part in parts)
    return x, y, seeds


def surrogate(threat: str, defense: str, device: torch.device) -> Surrogate:
    victim = moved(clinic().victim, device).accelerate()
    return THREATS[threat]()(victim, DEFENSES[defense]().to(device))


def test_every_threat_is_listed() -> None:
    names = {name.split(",")[0] for name in THREATS}
    assert names == {path.stem for path in (CONF / "threat").glob("*.yaml")}


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("defense", DEFENSES)
def test_threat(threat: str, defense: str, device: torch.device, entry: Entry) -> None:
    entry("threat", threat)
    found = []
    for place in (torch.device("cpu"), device):
        x, y, seeds = few(place)
        goal = Goal(CrossEntropy(), Misclassified(), y)
        seen = surrogate(threat, defense, place)
        values = [seen(x, seeds).logits, *seen.value(x, goal, seeds=seeds)]
        if seen.differentiable:
            gradient = seen.value_and_grad(x, goal, seeds=seeds)
            weights = torch.eye(3, device=place)[:, None].expand(-1, 5, -1)
            values += [gradient.grad, *seen.logits_and_grads(x, weights, seeds=seeds)]
            values += [part.grad for part in seen.values_and_grads(x, [goal, goal], seeds=seeds)]
        found.append(values)
    for there, here in zip(found[1], found[0], strict=True):
        check_close(there, here.detach(), device, atol=1e-2)


def test_reduced_precision(device: torch.device) -> None:
    found = []
    for place in (torch.device("cpu"), device):
        x, y, seeds = few(place)
        goal = Goal(CrossEntropy(), Misclassified(), y)
        seen = ReducedPrecision(surrogate("oblivious", "none", place))
        found.append(seen.value_and_grad(x, goal, seeds=seeds).grad)
    assert found[1].device == device
    near = torch.cosine_similarity(found[0].flatten(1), found[1].cpu().flatten(1))
    assert near.min() > 0.95
