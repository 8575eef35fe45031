import pytest
import torch

from medrobust.attack.apgd_t import APGDT, LeadOf, likeliest_wrong
from medrobust.attack.core.base import AttackError
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.pgd import PGD
from medrobust.attack.target.next_class import NextClass
from medrobust.prediction import Prediction
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.apgd_peer import Logged, fragile, standing

EPS = 4 / 255


def test_targets_by_hand() -> None:
    logits = torch.tensor([[0.1, 3.0, 2.0, 1.0], [5.0, 3.0, 9.0, 1.0]])
    y = torch.tensor([1, 1])  # the second is wrong already
    assert likeliest_wrong(logits, y, 2).tolist() == [[2, 2], [3, 0]]
    assert likeliest_wrong(logits, y, 9).tolist() == [[2, 2], [3, 0], [0, 3]]
    with pytest.raises(ValueError, match="the model has 1 logit"):
        likeliest_wrong(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64), 9)


def test_objective_as_the_reference() -> None:
    peer = pytest.importorskip("pyautoattack.autopgd_base")
    theirs = peer.APGDAttack_targeted(None, eps=0.1, device="cpu")
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(50, 7, generator=generator), torch.arange(50) % 7
    theirs.y_target = (y + 1 + torch.arange(50) % 5) % 7
    ours, part = LeadOf(theirs.y_target), torch.tensor([3, 3, 1])
    wanted = theirs.dlr_loss_targeted(logits, y)
    torch.testing.assert_close(ours.away(Prediction(logits), y), wanted)
    some = ours.at(part).away(Prediction(logits[part]), y[part])
    torch.testing.assert_close(some, wanted[part])


def test_objective_is_a_difference_with_three_classes() -> None:
    logits, y = torch.tensor([[1.0, 5.0, 2.0]]), torch.tensor([1])
    assert LeadOf(torch.tensor([2])).away(Prediction(logits), y).tolist() == [-3.0]


@pytest.mark.by_default("linf")
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_robust_accuracy_as_the_reference(norm: str) -> None:
    """Their starts are drawn differently: equal within two images. Both drop fooled images."""
    peer = pytest.importorskip("pyautoattack.autopgd_base")
    surrogate, x, y, seeds = fragile(10)
    unit, name = {"linf": (1 / 255, "Linf"), "l2": (0.04, "L2")}[norm]
    for factor in (1, 2, 4):
        attack = APGDT(factor * unit, steps=20, norm=norm, early_stop=True)
        ours = standing(surrogate, attack(surrogate, x, y, seeds=seeds), y)
        run = peer.APGDAttack_targeted(
            surrogate.victim, n_iter=20, norm=name, eps=factor * unit, device="cpu"
        )
        theirs = standing(surrogate, run.perturb(x, y), y)
        assert abs(int(ours.sum()) - int(theirs.sum())) <= 2
        assert 10 < ours.sum() < 90


@pytest.mark.parametrize("classes", [2, 3, 4, 7])
def test_any_number_of_classes(classes: int) -> None:
    """Where the reference runs out of classes, and at least as strong as PGD and CW."""
    surrogate, x, y, seeds = fragile(classes)
    attacks = (
        APGDT(EPS, steps=40, early_stop=True),
        PGD(EPS, steps=40, early_stop=True),
        CWLinf(EPS, steps=40, early_stop=True),
    )
    mine, pgd, cw = (
        int(standing(surrogate, attack(surrogate, x, y, seeds=seeds), y).sum())
        for attack in attacks
    )
    assert mine <= min(pgd, cw) + 1
    assert 10 < mine < 90
    peer = pytest.importorskip("pyautoattack.autopgd_base")
    run = peer.APGDAttack_targeted(surrogate.victim, n_iter=1, eps=EPS, device="cpu")
    with pytest.raises(IndexError):
        run.perturb(x, y)


@pytest.mark.parametrize(("classes", "targets", "runs"), [(3, 9, 2), (12, 9, 9), (12, 4, 4)])
def test_a_run_per_target(classes: int, targets: int, runs: int) -> None:
    surrogate, x, y, seeds = fragile(classes)
    passes: list[int] = []
    surrogate.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    APGDT(EPS, steps=2, targets=targets, restarts=2)(surrogate, x, y, seeds=seeds)
    assert sum(passes) == len(x) * (1 + runs * 2 * 3)


def test_every_run_has_a_start_and_noise_of_its_own() -> None:
    exact, x, y, seeds = fragile(5)
    surrogate = Logged(exact.victim)
    APGDT(EPS, steps=3, restarts=2)(surrogate, x, y, seeds=seeds)
    assert len(surrogate.noise) == len(set(surrogate.noise)) == 1 + 4 * 2 * 4
    assert len(set(surrogate.seen[1::4])) == 4 * 2


def test_early_stop_spares_further_targets() -> None:
    surrogate, x, y, seeds = fragile(10)
    passes: list[int] = []
    surrogate.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    whole = APGDT(EPS, steps=10)(surrogate, x, y, seeds=seeds)
    passes.clear()
    early = APGDT(EPS, steps=10, early_stop=True)(surrogate, x, y, seeds=seeds)
    left = standing(surrogate, whole, y)
    assert torch.equal(left, standing(surrogate, early, y))
    assert sum(passes) < 11 * 9 * left.sum() + 6 * len(x)


def test_a_target_of_the_user_is_refused() -> None:
    with pytest.raises(ValueError, match=r"attack\.target=NextClass: APGDT tries several classes"):
        APGDT(EPS, steps=5, target=NextClass())
    with pytest.raises(ValueError, match=r"attack\.targets="):
        APGDT(EPS, steps=5, targets=0)


def test_masks_are_refused(pixel_surrogate: VictimSurrogate) -> None:
    y = torch.zeros(2, 6, 6, dtype=torch.int64)
    with pytest.raises(AttackError, match="APGDT is defined for one label per image"):
        APGDT(EPS, steps=1)(pixel_surrogate, torch.rand(2, 3, 6, 6), y, seeds=torch.arange(2))
