import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from medrobust.attack.apgd_ce import APGDCE
from medrobust.attack.apgd_dlr import APGDDLR
from medrobust.attack.autoattack import AutoAttack
from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.norm import distance
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.pgd import PGD
from medrobust.attack.target.next_class import NextClass
from medrobust.defense.core.base import Purifier
from medrobust.defense.none import NoDefense
from medrobust.rng import fold_in, normal
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from tests.support.apgd_peer import Logged, fragile, standing

CONF = Path(__file__).parents[2] / "conf"
EPS = 4 / 255


def test_versions_of_the_authors() -> None:
    names = {
        version: [
            (type(part).__name__, getattr(part, "restarts", 1))
            for part in AutoAttack(EPS, version=version).components
        ]
        for version in ("standard", "plus", "rand")
    }
    assert names == {
        "standard": [("APGDCE", 1), ("APGDT", 1), ("FABT", 1), ("Square", 1)],
        "plus": [
            ("APGDCE", 5),
            ("APGDDLR", 5),
            ("FAB", 5),
            ("Square", 1),
            ("APGDT", 1),
            ("FABT", 1),
        ],
        "rand": [("APGDCE", 1), ("APGDDLR", 1)],
    }
    for part in AutoAttack(0.5, norm="l2", version="plus").components:
        assert part.norm == "l2"
        assert part.eps == 0.5
        assert getattr(part, "steps", 100) == 100
        assert getattr(part, "targets", 9) == 9
        assert getattr(part, "queries", 5000) == 5000
        assert getattr(part, "early_stop", True)
    assert not any(part.early_stop for part in AutoAttack(EPS, version="rand").components)


def shortened(model: torch.nn.Module, norm: str, eps: float, steps: int, queries: int) -> Any:
    """The reference's standard version with other numbers of steps and queries."""
    peer = pytest.importorskip("pyautoattack")
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    run = peer.AutoAttack(model, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, seed=0)
    for part in (run.apgd, run.apgd_targeted):
        part.n_iter = part.n_iter_orig = steps
        part.n_iter_2, part.n_iter_min, part.size_decr = (
            max(int(share * steps), 1) for share in (0.22, 0.06, 0.03)
        )
    run.fab.n_iter, run.square.n_queries = steps, queries
    return run


@pytest.mark.by_default("linf")
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_robust_accuracy_as_the_reference(norm: str) -> None:
    surrogate, x, y, seeds = fragile(10)
    x, y, seeds = x[:40], y[:40], seeds[:40]
    unit = {"linf": 1 / 255, "l2": 0.04}[norm]
    for factor in (1, 2, 3):
        eps = factor * unit
        attack = AutoAttack(eps, norm=norm, steps=10, queries=30)
        ours = standing(surrogate, attack(surrogate, x, y, seeds=seeds), y)
        run = shortened(surrogate.victim, norm, eps, steps=10, queries=30)
        theirs = standing(surrogate, run.run_standard_evaluation(x, y)[0], y)
        assert abs(int(ours.sum()) - int(theirs.sum())) <= 1
        assert 5 < ours.sum() < 36


def test_rand_leaves_no_more_than_the_reference() -> None:
    surrogate, x, y, seeds = fragile(10)
    x, y, seeds = x[:40], y[:40], seeds[:40]
    ours = AutoAttack(EPS, version="rand", steps=10)(surrogate, x, y, seeds=seeds)
    run = shortened(surrogate.victim, "linf", EPS, steps=10, queries=1)
    run.attacks_to_run = ["apgd-ce", "apgd-dlr"]
    theirs = run.run_standard_evaluation(x, y)[0]
    left, right = (int(standing(surrogate, made, y).sum()) for made in (ours, theirs))
    assert abs(left - right) <= 2
    assert 2 < left < 36


@pytest.mark.by_default("2", "4")
@pytest.mark.parametrize("classes", [2, 3, 4, 7])
def test_any_number_of_classes(classes: int) -> None:
    """At least as strong as PGD and CW; the reference raises an IndexError on each."""
    surrogate, x, y, seeds = fragile(classes)
    ensemble = AutoAttack(EPS, steps=20, queries=20)
    attacks = (PGD(EPS, steps=20, early_stop=True), CWLinf(EPS, steps=20, early_stop=True))
    mine, pgd, cw = (
        int(standing(surrogate, attack(surrogate, x, y, seeds=seeds), y).sum())
        for attack in (ensemble, *attacks)
    )
    assert mine <= min(pgd, cw) + 1
    assert 10 < mine < 90
    run = shortened(surrogate.victim, "linf", EPS, steps=2, queries=2)
    with pytest.raises(IndexError):
        run.run_standard_evaluation(x, y)


@pytest.mark.parametrize("version", ["standard", "plus"])
def test_each_component_gets_what_still_stands(version: str) -> None:
    surrogate, x, y, seeds = fragile(4)
    attack = AutoAttack(EPS, version=version, steps=3, queries=10)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    for part in attack.components:

        def perturb(
            surrogate: Surrogate,
            x: Tensor,
            goal: Goal,
            *,
            seeds: Tensor,
            inner: Any = part.perturb,
        ) -> Any:
            made = inner(surrogate, x, goal, seeds=seeds)
            seen.append((x, goal.labels, made if isinstance(made, Tensor) else made.images))
            return made

        part.perturb = perturb  # type: ignore[method-assign]
    found = attack(surrogate, x, y, seeds=seeds)
    left = standing(surrogate, x, y)
    assert torch.equal(found[~left], x[~left])  # wrong already: returned as it is
    assert left.sum() == 95
    for given, labels, made in seen:
        assert torch.equal(given, x[left])
        assert torch.equal(labels, y[left])
        still = standing(surrogate, made, labels)
        rows = left.nonzero().flatten()
        assert torch.equal(found[rows[~still]], made[~still])
        left[rows[~still]] = False
    assert len(seen) == len(attack.components)
    assert torch.equal(left, standing(surrogate, found, y))
    tried = seen[0][2][standing(surrogate, found, y)[standing(surrogate, x, y)]]
    assert torch.equal(found[left], tried)  # of who stands to the end: the first one's try
    assert distance(x, found, "linf")[left].min() > 0.9 * EPS


def test_stops_when_nobody_stands() -> None:
    surrogate, x, y, seeds = fragile(3)
    passes: list[int] = []
    surrogate.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    found = AutoAttack(0.5)(surrogate, x, y, seeds=seeds)
    assert not standing(surrogate, found, y).any()
    assert sum(passes) < 10 * len(x)


def test_components_have_seeds_of_their_own(row_surrogate: VictimSurrogate) -> None:
    """And a random surrogate gets fresh noise in each look of each of them."""
    x = torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    y = row_surrogate.victim(x).argmax(1)
    attack = AutoAttack(1e-5, version="rand", steps=5)
    surrogate = Logged(row_surrogate.victim)
    attack(surrogate, x, y, seeds=torch.arange(1))
    assert len(surrogate.noise) == 2 * 6 + 3
    assert len(set(surrogate.noise)) == 2 * 6 + 1  # what is compared is judged under one noise


class Noisy(Purifier):
    random = True

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return (x + 0.1 * normal(seeds, x.shape[1:])).clamp(0, 1)


def test_luck_with_the_noise_ends_no_attack() -> None:
    """Of the system with other dice than the attacker's, and by no less than PGD."""
    bare, x, y, seeds = fragile(4)
    surrogate = Adaptive(eot_samples=2)(bare.victim, Noisy())
    deployed = Adaptive(eot_samples=50)(bare.victim, Noisy())

    def reached(attack: Attack) -> tuple[float, float]:
        """Mean loss, and the share of answers that are wrong."""
        made = attack(surrogate, x, y, seeds=seeds)
        assert distance(x, made, "linf").max() <= EPS + 1e-7
        goal = Goal(CrossEntropy(), Misclassified(), y)
        loss, fooled = deployed.value(made, goal, seeds=fold_in(seeds, 99))
        return float(loss.double().mean()), float(fooled.double().mean())

    loss, fooled = reached(AutoAttack(EPS, version="rand", steps=20))
    hasty_loss, hasty_fooled = reached(APGDCE(EPS, steps=20, early_stop=True))
    assert loss > 1.1 * hasty_loss
    assert fooled >= hasty_fooled + 0.03
    for other in (PGD(EPS, steps=20), APGDCE(EPS, steps=20)):
        other_loss, other_fooled = reached(other)
        assert loss > 0.95 * other_loss
        assert fooled >= other_fooled - 0.05


def test_rand_finds_what_the_others_find_without_noise() -> None:
    surrogate, x, y, seeds = fragile(4)
    rand = AutoAttack(EPS, version="rand", steps=20)(surrogate, x, y, seeds=seeds)
    left = standing(surrogate, rand, y)
    for kind in (APGDCE, APGDDLR):
        alone = kind(EPS, steps=20)(surrogate, x, y, seeds=seeds)
        assert left.sum() <= standing(surrogate, alone, y).sum() + 2
    assert not left[~standing(surrogate, x, y)].any()  # wrong already, wrong afterwards


def test_batch_changes_no_bit(row_surrogate: VictimSurrogate) -> None:
    x = torch.rand(12, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    y, seeds = row_surrogate.victim(x).argmax(1), fold_in(torch.arange(12), 0)
    attack = AutoAttack(4 / 255, version="plus", steps=4, queries=10)
    whole = attack(row_surrogate, x, y, seeds=seeds)
    parts = [
        attack(row_surrogate, x[rows], y[rows], seeds=seeds[rows])
        for rows in torch.arange(12).split([1, 1, 3, 7])
    ]
    assert torch.equal(whole, torch.cat(parts))
    assert 0 < standing(row_surrogate, whole, y).sum() < 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"version": "fast"}, r"attack\.version='fast', expected one of standard, plus, rand"),
        ({"norm": "l1"}, r"attack\.norm='l1', expected linf or l2"),
        ({"target": NextClass()}, r"attack\.target=NextClass: AutoAttack leads away"),
        ({"eps": 0}, r"attack\.eps="),
        ({"steps": 0}, r"attack\.steps="),
        ({"targets": 0}, r"attack\.targets="),
        ({"queries": 0}, r"attack\.queries="),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AutoAttack(**({"eps": EPS} | settings))


def test_a_black_box_is_refused(row_surrogate: VictimSurrogate) -> None:
    answers = BlackBox()(row_surrogate.victim, NoDefense())
    y = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(AttackError, match="AutoAttack needs gradients and QuerySurrogate gives"):
        AutoAttack(EPS)(answers, torch.rand(2, 3, 6, 5), y, seeds=torch.arange(2))


def test_masks_are_refused(pixel_surrogate: VictimSurrogate) -> None:
    y = torch.zeros(2, 6, 6, dtype=torch.int64)
    with pytest.raises(AttackError, match="AutoAttack is defined for one label per image"):
        AutoAttack(EPS)(pixel_surrogate, torch.rand(2, 3, 6, 6), y, seeds=torch.arange(2))


def test_config() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        attack = instantiate(compose(overrides=["+attack=autoattack"]).attack)
    assert attack.fingerprint == AutoAttack("8/255").fingerprint
    assert isinstance(attack.components[0], APGDCE)
    assert attack.components[0].eps == 8 / 255
