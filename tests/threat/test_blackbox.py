"""The black box: what it answers, what it hides, and who may ask."""

import pytest
import torch

from medrobust.attack.core.base import AttackError
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.query import Oracle
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.hopskipjump import HopSkipJump
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.nes import NES
from medrobust.attack.pgd import PGD
from medrobust.attack.rays import RayS
from medrobust.attack.spsa import SPSA
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.rng import sample_seeds
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.oblivious import Oblivious
from tests.support.helpers import linear_victim, small_cnn

N = 6
X = torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(5))
Y = torch.arange(N) % 4
SEEDS = sample_seeds(0, [str(i) for i in range(N)])


@pytest.mark.parametrize("defense", [Median(), MedRDF(GaussianNoise(0.2), Median(), copies=9)])
def test_scores_are_those_of_the_deployed_system(defense):
    victim = small_cnn()
    seen = BlackBox("scores")(victim, defense)(X, SEEDS)
    deployed = defense(X, victim, seeds=SEEDS)
    assert torch.equal(seen.logits, deployed.logits)
    assert not torch.allclose(seen.logits, victim(X))
    assert not seen.logits.requires_grad


def test_labels_tell_the_class_and_nothing_else():
    victim, defense = small_cnn(), Median()
    surrogate = BlackBox("labels")(victim, defense)
    seen = surrogate(X, SEEDS)
    assert torch.equal(seen.label, defense(X, victim, seeds=SEEDS).label)
    assert seen.logits.dtype == X.dtype
    assert seen.logits.unique().tolist() == [0, 1]
    assert (seen.logits.sum(1) == 1).all()
    assert not surrogate.scored
    assert BlackBox("scores")(victim, defense).scored


def test_a_mask_is_answered_per_pixel():
    victim = small_cnn()
    victim.network = torch.nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False)
    seen = BlackBox("labels")(victim, NoDefense())(X, SEEDS)
    assert seen.logits.shape == (N, 4, 8, 8)
    assert torch.equal(seen.label, victim(X).argmax(1))


@pytest.mark.parametrize("answer", ["scores", "labels"])
def test_abstention_is_answered(answer):
    victim, vote = linear_victim(), MedRDF(GaussianNoise(4.0), NoDefense(), copies=10)
    abstain = vote(X, victim, seeds=SEEDS).abstain
    assert abstain.any()
    assert torch.equal(BlackBox(answer)(victim, vote)(X, SEEDS).abstain, abstain)


def test_a_vote_is_one_query():
    """50 copies pass the victim for each image that is asked about."""
    victim, passed = small_cnn(), []
    vote = MedRDF(GaussianNoise(0.1), NoDefense(), copies=50)
    handle = victim.register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
    made = RayS("8/255", queries=8).craft(BlackBox("labels")(victim, vote), X, Y, seeds=SEEDS)
    handle.remove()
    assert sum(passed) == 50 * made.queries.sum()
    assert made.queries.max() == 8


def test_every_part_is_in_the_fingerprint():
    prints = {
        BlackBox(answer)(victim, defense).fingerprint
        for answer in ("scores", "labels")
        for victim in (small_cnn(), small_cnn(seed=1))
        for defense in (NoDefense(), Median(), Median(5))
    }
    prints.add(Oblivious()(small_cnn(), NoDefense()).fingerprint)
    assert len(prints) == 13


def test_nobody_looks_inside():
    surrogate = BlackBox()(small_cnn(), NoDefense())
    with pytest.raises(RuntimeError, match=r"threat=blackbox shows answers only.*\['layer'\]"):
        surrogate(X, SEEDS, taps=("layer",))
    with pytest.raises(AttackError, match="PGD needs gradients and QuerySurrogate gives none"):
        PGD("8/255", steps=1)(surrogate, X, Y, seeds=SEEDS)


@pytest.mark.parametrize("attack", [SPSA, NES])
def test_a_score_attack_on_labels_is_refused(attack):
    surrogate = BlackBox("labels")(small_cnn(), NoDefense())
    with pytest.raises(AttackError, match=rf"{attack.__name__} needs scores.*attack=rays"):
        attack("8/255", steps=1, samples=2)(surrogate, X, Y, seeds=SEEDS)


def test_a_label_attack_cannot_see_the_loss():
    surrogate, rows = BlackBox("scores")(small_cnn(), NoDefense()), torch.arange(N)
    goal = Goal(CrossEntropy(), Misclassified(), Y)
    seen = [
        Oracle(surrogate, X, goal, SEEDS, budget=1, chunk=4, scores=scores).query(rows, X)
        for scores in (True, False)
    ]
    assert (seen[0][0] != 0).all()
    assert (seen[1][0] == 0).all()
    assert torch.equal(seen[0][1], seen[1][1])
    assert RayS.hard_label
    assert HopSkipJump.hard_label


def test_answer_must_be_known():
    with pytest.raises(ValueError, match=r"threat\.answer='logits', expected one of scores, label"):
        BlackBox("logits")
