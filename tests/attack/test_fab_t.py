"""FAB-T; what differs from pyautoattack's FABAttack_PT(targeted=True) is told in test_fab."""

import pytest
import torch
from torch import Tensor

from medrobust.attack.core.norm import distance
from medrobust.attack.fab import FAB, wrong_classes
from medrobust.attack.fab_t import FABT
from medrobust.threat.surrogate import VictimSurrogate
from tests.attack.conftest import RowNet, make_victim

COUNT, STEPS = 40, 15


class Counted(VictimSurrogate):
    """Counts gradients per image."""

    backward = 0

    def _logits_and_grads(
        self, x: Tensor, weights: Tensor, *, seeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        self.backward += weights.shape[0] * len(x)
        return super()._logits_and_grads(x, weights, seeds=seeds)


def toy(classes: int) -> tuple[Counted, Tensor, Tensor]:
    surrogate = Counted(make_victim(RowNet(3 * 6 * 5, hidden=24, classes=classes)))
    x = torch.rand(COUNT, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    return surrogate, x, surrogate.victim(x).argmax(1)


@pytest.mark.parametrize("classes", [2, 3, 4, 7, 12])
def test_any_number_of_classes(classes: int) -> None:
    """The authors' code raises an IndexError below eleven classes with its nine targets."""
    surrogate, x, y = toy(classes)
    found = FABT(steps=STEPS)(surrogate, x, y, seeds=torch.arange(COUNT))
    assert surrogate.backward == min(9, classes - 1) * STEPS * COUNT
    every = FAB(steps=STEPS)(surrogate, x, y, seeds=torch.arange(COUNT))
    fooled = surrogate.victim(found).argmax(1) != y
    assert torch.equal(fooled, surrogate.victim(every).argmax(1) != y)
    assert fooled.float().mean() > 0.8  # with two classes some are out of reach in [0, 1]
    ratio = (distance(x, found, "linf") / distance(x, every, "linf"))[fooled]
    assert ratio.median() < 1.005
    if classes == 2:
        assert torch.equal(found, every)


@pytest.mark.by_default("linf")
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_as_near_as_the_authors(norm: str) -> None:
    """Twelve classes, nine targets: nearest of their nine runs beside ours."""
    fab_pt = pytest.importorskip("pyautoattack.fab_pt")
    surrogate, x, y = toy(12)
    peer = fab_pt.FABAttack_PT(
        surrogate.victim, norm={"linf": "Linf", "l2": "L2"}[norm], n_iter=STEPS, eps=10.0
    )
    nearest = torch.full((COUNT,), torch.inf, dtype=torch.float64)
    for number in range(2, 11):
        peer.target_class = number
        image = peer.attack_single_run(x, y, is_targeted=True)
        away = distance(x, image, norm)
        nearest = nearest.minimum(away.where(surrogate.victim(image).argmax(1) != y, torch.inf))
    found = FABT(norm=norm, steps=STEPS)(surrogate, x, y, seeds=torch.arange(COUNT))
    ratio = distance(x, found, norm) / nearest
    assert 0.97 < ratio.median() <= 1.0
    assert (ratio < 1.01).float().mean() > 0.95
    eps = nearest.median()
    assert (distance(x, found, norm) > eps).sum() <= (nearest > eps).sum() + 1


def test_robust_accuracy_as_the_authors(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """As AutoAttack runs it: an image leaves once it is fooled within eps."""
    fab_pt = pytest.importorskip("pyautoattack.fab_pt")
    x, y, eps = images[:100], labels[:100], 0.018
    peer = fab_pt.FABAttack_PT(
        surrogate.victim, n_iter=STEPS, eps=eps, targeted=True, n_target_classes=2
    )
    theirs = surrogate.victim(peer.perturb(x, y)).argmax(1) == y
    attack = FABT(eps, steps=STEPS, early_stop=True)
    ours = surrogate.victim(attack(surrogate, x, y, seeds=seeds[:100])).argmax(1) == y
    assert 0.2 < theirs.float().mean() < 0.8
    # Where the two disagree, the boundary lies at eps: within the authors' halved last bit.
    away = distance(x, FABT(steps=STEPS)(surrogate, x, y, seeds=seeds[:100]), "linf")
    assert ((away - eps).abs()[ours != theirs] < 0.02 * eps).all()
    assert (ours != theirs).float().mean() < 0.1


def test_the_likeliest_wrong_classes_in_order() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0, -1.0], [5.0, 5.0, 5.0, 6.0]])
    wrong = wrong_classes(logits, torch.tensor([0, 1]))
    assert wrong.tolist() == [[2, 1, 3], [3, 0, 2]]
    runs = list(FABT(targets=2).rivals(logits, torch.tensor([0, 1])))
    assert [run.tolist() for run in runs] == [[[2], [3]], [[1], [0]]]


def test_early_stop_leaves_later_targets_out() -> None:
    surrogate, x, y = toy(7)
    cost = []
    for early in (False, True):
        surrogate.backward = 0
        FABT(0.5, steps=STEPS, early_stop=early)(surrogate, x, y, seeds=torch.arange(COUNT))
        cost.append(surrogate.backward)
    assert cost[0] == 6 * STEPS * COUNT
    assert cost[1] < 0.1 * cost[0]


def test_batch_changes_no_bit() -> None:
    """Images leave at different steps and runs."""
    surrogate, x, y = toy(4)
    attack = FABT(0.02, steps=8, restarts=2, early_stop=True)
    whole = attack(surrogate, x, y, seeds=torch.arange(COUNT))
    parts = [
        attack(surrogate, x[i : i + 7], y[i : i + 7], seeds=torch.arange(COUNT)[i : i + 7])
        for i in range(0, COUNT, 7)
    ]
    assert torch.equal(whole, torch.cat(parts))


def test_bad_targets() -> None:
    with pytest.raises(ValueError, match=r"attack\.targets=0"):
        FABT(targets=0)
