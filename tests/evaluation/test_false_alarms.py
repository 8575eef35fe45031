"""Sound attacks on bare victims and on an exact defense raise no flag, or one that is right."""

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import medrobust
from medrobust.attack.apgd_ce import APGDCE
from medrobust.attack.fgsm import FGSM
from medrobust.attack.momentum_pgd import MomentumPGD
from medrobust.attack.pgd import PGD
from medrobust.attack.square import Square
from medrobust.defense.core.base import Defense, StraightThroughPurifier
from medrobust.defense.median import Median
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.report.table.crosscheck import crosschecks
from tests.support.clinic import CLASSES, pictures

pytestmark = pytest.mark.usefixtures("all_directions")

EPS = ("12/255", "16/255", "24/255")
N = 60
WHY = {
    ("fgsm", "other_attack_stronger"): "one step is weaker than many",
    ("fgsm", "surrogate_not_fooled"): "one step fools nobody at a small radius",
    ("square", "surrogate_not_fooled"): "100 queries fool nobody at a small radius",
}
"""Attack and code of the flags that are right here."""


@cache
def victim(number: int) -> Victim:
    """Train one of several small classifiers, of different widths, weights and training images."""
    width = (4, 8, 12)[number % 3]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        network = nn.Sequential(
            *(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width)),
            *(nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(32 * width, CLASSES)),
        )
        architecture = {"kind": f"small {width}"}
        made = Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture=architecture)
        images, labels = pictures(240, 10 + number)
        optimizer = torch.optim.Adam(made.parameters(), lr=5e-3)
        for _ in range(6):
            for part in torch.randperm(len(images)).split(40):
                optimizer.zero_grad()
                F.cross_entropy(made(images[part]), labels[part]).backward()
                optimizer.step()
    made.zero_grad()
    return made.freeze()


def raised(number: int, eps: str, defense: Defense) -> Iterator[tuple[str, str]]:
    """Yield attack and code of every flag, of the rows and between them."""
    knowing = "oblivious" if isinstance(defense, NoDefense) else "adaptive"
    gradient = [PGD(eps, steps=20), APGDCE(eps, steps=20), MomentumPGD(eps, steps=20), FGSM(eps)]
    attacks = [(attack, knowing) for attack in gradient] + [(Square(eps, queries=100), "blackbox")]
    rows = [
        medrobust.evaluate(
            victim(number), pictures(N, 99), attack=attack, defense=defense, threat=threat
        )
        for attack, threat in attacks
    ]
    between = crosschecks(rows)
    for row in rows:
        for flag in (*row.flags, *between.get(row.id, ())):
            yield row.cell["attack"], flag.code


@pytest.mark.by_default("16/255-0-bare", "24/255-0-median")
@pytest.mark.parametrize("defense", [NoDefense(), Median()], ids=["bare", "median"])
@pytest.mark.parametrize(
    "number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 10))]
)
@pytest.mark.parametrize("eps", EPS)
def test_only_flags_that_are_right_are_raised(eps: str, number: int, defense: Defense) -> None:
    fired = set(raised(number, eps, defense))
    assert fired <= set(WHY)


class Reversed(StraightThroughPurifier):
    """Changes nothing, and its derivative leads down."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return x

    def stand_in(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return -x


def test_a_misled_attack_on_the_same_victim_is_flagged() -> None:
    fired = set(raised(0, EPS[2], Reversed()))
    misled = {(attack, "unrelated_gradient") for attack in ("pgd", "apgd_ce", "momentum_pgd")}
    assert misled <= fired
