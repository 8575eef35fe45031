"""Losses step by step: those of the very attack of the cell, whatever kind it is."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from medrobust.attack.apgd import APGD
from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.plan import EFFORTS
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.none import NoAttack
from medrobust.attack.square import Square
from medrobust.attack.strongest import Strongest
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.defense.jpeg import JPEG
from medrobust.defense.none import NoDefense
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.record.convergence import ConvergenceRequest
from medrobust.evaluation.stream import attacker_seeds
from medrobust.report.figure.convergence import best_so_far, share_reached
from medrobust.result.convergence import Convergence
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.oblivious import Oblivious
from medrobust.threat.surrogate import Surrogate
from tests.attack.test_strongest import TINY
from tests.support.convergence import SEEN
from tests.support.helpers import small_cnn

N, EPS = 9, 4 / 255
PLACES = [0, 4, 8]


@pytest.fixture(scope="module")
def clean() -> ImageSet:
    images = torch.rand(N, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    return ImageSet(images, small_cnn()(images).argmax(1), tuple(f"set/{i}" for i in range(N)))


def cell(clean: ImageSet, attack: Attack, threat: object, defense: Defense) -> Cell:
    victim = small_cnn()
    surrogate = threat(victim, defense)  # type: ignore[operator]
    return Cell(victim, defense, surrogate, attack, clean, classes=4)


def record(one: Cell, images: int = 3) -> Convergence:
    request = ConvergenceRequest.parse({"images": images})
    assert request is not None
    return request.record(one, torch.device("cpu"))


def test_each_step_has_the_loss_of_the_point_that_it_leaves(clean: ImageSet) -> None:
    """Sign steps by hand: loss of the clean image first, of the last point at the end."""
    one = cell(clean, BIM(EPS, steps=4, step_size=EPS / 4), Oblivious(), NoDefense())
    found = record(one)
    assert found.ids == ("set/0", "set/4", "set/8")
    assert found.counts.tolist() == [5, 5, 5]
    assert found.asked.tolist() == 3 * [1, 2, 3, 4, 5]
    assert len(found.stages) == 1
    for number, place in enumerate(PLACES):
        point = clean.images[place : place + 1].clone()
        y = clean.labels[place : place + 1]
        for seen in found.loss[found.events(number)]:
            point.requires_grad_()
            loss = torch.nn.functional.cross_entropy(one.victim(point), y)
            assert seen == pytest.approx(float(loss.detach()), rel=1e-4, abs=1e-6)
            (grad,) = torch.autograd.grad(loss, point)
            point = (point.detach() + EPS / 4 * grad.sign()).clamp(0, 1)


@pytest.mark.by_default("attack0-threat0", "attack1-threat1")
@pytest.mark.parametrize(
    ("attack", "threat"),
    [
        (APGD(EPS, steps=6, loss=CrossEntropy()), Adaptive()),
        (Square(EPS, queries=30), BlackBox()),
        (Strongest(EPS, effort="small"), Adaptive()),
    ],
)
def test_the_images_that_reach_the_goal_are_those_of_the_attack(
    attack: Attack, threat: object, clean: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EFFORTS, "small", TINY)
    labels = clean.labels.clone()
    labels[:3] = (labels[:3] + 1) % 4  # wrong from the start
    clean = ImageSet(clean.images, labels, clean.ids)
    one = cell(clean, attack, threat, JPEG(50))
    found = record(one, N)
    seeds = attacker_seeds(0, clean.ids)
    made = attack(one.surrogate, clean.images, clean.labels, seeds=seeds)
    goal = Goal(CrossEntropy(), Misclassified(), clean.labels)
    with torch.no_grad():
        fooled: Tensor = goal.reached(one.surrogate(made, seeds))
    reached = [bool(found.reached[found.events(place)].any()) for place in range(N)]
    assert reached == fooled.tolist()
    at, share = share_reached(found)
    assert share.tolist() == [(k + 1) / N for k in range(len(at))]
    assert len(at) == int(fooled.sum())
    assert at.tolist() == sorted(at.tolist())
    assert one.surrogate._watcher is None


def test_no_attack_has_no_losses(clean: ImageSet, tmp_path: Path) -> None:
    found = record(cell(clean, NoAttack(), Oblivious(), NoDefense()))
    assert found.counts.tolist() == [0, 0, 0]
    found.write(tmp_path / "a.npz")
    assert Convergence.read(tmp_path / "a.npz") is not None


def test_a_file_of_fewer_images_is_not_what_is_requested(clean: ImageSet, tmp_path: Path) -> None:
    path = tmp_path / "a.convergence.npz"
    one = cell(clean, BIM(EPS, steps=2), Oblivious(), NoDefense())
    request = ConvergenceRequest(3)
    assert not request.met_by(path)
    record(one).write(path)
    assert request.met_by(path)
    assert not ConvergenceRequest(4).met_by(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert not request.met_by(path)


@pytest.mark.parametrize("node", [4, {"image": 4}, {"images": 0}, {"images": "x"}])
def test_a_wrong_request_is_refused(node: object) -> None:
    with pytest.raises(ValueError, match="convergence"):
        ConvergenceRequest.parse(node)  # type: ignore[arg-type]


def test_the_largest_loss_starts_anew_with_each_stage() -> None:
    assert best_so_far(SEEN, 0).tolist() == [1.0, 1.0, -3.0, -2.0]
    assert best_so_far(SEEN, 1).tolist() == [2.0, 3.0]
    at, share = share_reached(SEEN)
    assert (at.tolist(), share.tolist()) == ([4], [0.5])


def test_watching_one_surrogate_watches_its_views() -> None:
    surrogate: Surrogate = Adaptive()(small_cnn(), JPEG(50))
    seen: list[str] = []
    x, seeds = torch.rand(1, 3, 12, 12), torch.arange(1)
    goal = Goal(CrossEntropy(), Misclassified(), torch.tensor([0]))
    with surrogate.watched(lambda view, *_: seen.append(type(view).__name__)):
        for view in surrogate.siblings.every:
            view.value(x, goal, seeds=seeds)
    assert len(seen) == len(surrogate.siblings.every)
    surrogate.siblings.bare.value(x, goal, seeds=seeds)
    assert len(seen) == len(surrogate.siblings.every)
