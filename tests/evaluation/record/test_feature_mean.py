"""The stress test's measure, against means by hand."""

from pathlib import Path

import pytest
import torch

from medrobust.attack.bim import BIM
from medrobust.attack.loss.stress import LossOnly, Stress
from medrobust.attack.none import NoAttack
from medrobust.attack.untouched import Untouched
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.base import Defense
from medrobust.defense.none import NoDefense
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.record.feature_mean import feature_means
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.clinic import clinic


def means(loss: Stress, defense: Defense, attacked: torch.Tensor, folder: Path) -> dict[str, float]:
    victim, _, clean, labels, *_ = clinic()
    images = ImageSet(clean, labels, tuple(f"x/{i}" for i in range(len(clean))))
    surrogate = VictimSurrogate(victim)
    cell = Cell(victim, defense, surrogate, NoAttack(), images, classes=3)
    runner = Runner(torch.device("cpu"), 7, TensorCache(folder))
    return feature_means(loss, cell, images.with_images(attacked), runner)


def by_hand(x: torch.Tensor, tap: str) -> float:
    with torch.no_grad():
        return clinic().victim.features(x, [tap])[1][tap].double().mean().item()


@pytest.mark.parametrize("tap", ["2", "5"])
@pytest.mark.parametrize("defense", [NoDefense(), BitDepth(2)], ids=type)
def test_means_of_the_attacked_image_behind_the_defense(tmp_path, tap, defense):
    _, _, clean, _, attacked, seeds = clinic()
    found = means(Stress("up", [tap]), defense, attacked, tmp_path)
    shown = defense.view(attacked, seeds=seeds)
    mean, plain = by_hand(shown, tap), by_hand(clean, tap)
    assert found["feature_mean"] == pytest.approx(mean, rel=1e-5)
    assert found["feature_mean_clean"] == pytest.approx(plain, rel=1e-5)
    assert found["feature_mean_change"] == pytest.approx((mean - plain) / plain, abs=1e-5)
    assert found["feature_mean_share"] == pytest.approx(mean / plain, rel=1e-5)


def test_untouched_images_are_the_reference_and_an_attack_goes_where_it_is_told(tmp_path):
    victim, _, clean, labels, _, seeds = clinic()
    loss, surrogate = Stress("down", ["2"]), VictimSurrogate(victim)
    same = Untouched(loss)(surrogate, clean, labels, seeds=seeds)
    assert torch.equal(same, clean)
    found = means(loss, NoDefense(), same, tmp_path)
    assert (found["feature_mean_change"], found["feature_mean_share"]) == (0, 1)
    attack = BIM("4/256", steps=5, loss=loss, criterion=LossOnly())
    moved = attack(surrogate, clean, labels, seeds=seeds)
    found = means(loss, NoDefense(), moved, tmp_path)
    assert found["feature_mean_change"] < 0


def test_without_a_layer_it_is_the_one_that_feeds_the_classifier(tmp_path):
    _, _, clean, *_ = clinic()
    found = means(Stress(), NoDefense(), clean, tmp_path)
    named = means(Stress("up", ["7"]), NoDefense(), clean, tmp_path)
    assert found == named
