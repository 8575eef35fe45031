"""The stress test's measure, against means by hand."""

import pytest
import torch
from clinic import clinic

from medrobust.attack.bim import BIM
from medrobust.attack.loss.stress import LossOnly, Stress
from medrobust.attack.untouched import Untouched
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.none import NoDefense
from medrobust.evaluation.record.feature_mean import feature_means
from medrobust.threat.surrogate import VictimSurrogate

HOW = {"seed": 0, "batch_size": 7, "device": torch.device("cpu")}


def sets(attacked: torch.Tensor | None = None) -> tuple[ImageSet, ImageSet]:
    _, _, clean, labels, *_ = clinic()
    found = ImageSet(clean, labels, tuple(f"x/{i}" for i in range(len(clean))))
    return found, found if attacked is None else found.with_images(attacked)


def by_hand(x: torch.Tensor, tap: str) -> float:
    with torch.no_grad():
        return clinic().victim.features(x, [tap])[1][tap].double().mean().item()


@pytest.mark.parametrize("tap", ["2", "5"])
@pytest.mark.parametrize("defense", [NoDefense(), BitDepth(2)], ids=type)
def test_means_of_the_attacked_image_behind_the_defense(tap, defense):
    victim, _, clean, _, attacked, seeds = clinic()
    found = feature_means(Stress("up", [tap]), victim, defense, *sets(attacked), **HOW)
    shown = defense.view(attacked, seeds=seeds)
    mean, plain = by_hand(shown, tap), by_hand(clean, tap)
    assert found["feature_mean"] == pytest.approx(mean, rel=1e-5)
    assert found["feature_mean_clean"] == pytest.approx(plain, rel=1e-5)
    assert found["feature_mean_change"] == pytest.approx((mean - plain) / plain, abs=1e-5)
    assert found["feature_mean_share"] == pytest.approx(mean / plain, rel=1e-5)


def test_untouched_images_are_the_reference_and_an_attack_goes_where_it_is_told():
    victim, _, clean, labels, _, seeds = clinic()
    loss, surrogate = Stress("down", ["2"]), VictimSurrogate(victim)
    same = Untouched(loss)(surrogate, clean, labels, seeds=seeds)
    assert torch.equal(same, clean)
    found = feature_means(loss, victim, NoDefense(), *sets(same), **HOW)
    assert (found["feature_mean_change"], found["feature_mean_share"]) == (0, 1)
    attack = BIM("4/256", steps=5, loss=loss, criterion=LossOnly())
    moved = attack(surrogate, clean, labels, seeds=seeds)
    found = feature_means(loss, victim, NoDefense(), *sets(moved), **HOW)
    assert found["feature_mean_change"] < 0


def test_without_a_layer_it_is_the_one_that_feeds_the_classifier():
    victim, *_ = clinic()
    found = feature_means(Stress(), victim, NoDefense(), *sets(), **HOW)
    named = feature_means(Stress("up", ["7"]), victim, NoDefense(), *sets(), **HOW)
    assert found == named
