"""The hierarchical feature constraint on its carriers: `conf/attack/hfc/*.yaml`."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from sklearn.covariance import EmpiricalCovariance
from torch import Tensor

from medrobust.attack.bim import BIM
from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.target import Target
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.feature_match import FeatureMatch
from medrobust.attack.loss.hfc import HFC
from medrobust.attack.loss.margin import Margin
from medrobust.attack.mim import MIM
from medrobust.attack.pgd import PGD
from medrobust.attack.target.most_likely import MostLikely
from medrobust.attack.target.next_class import NextClass
from medrobust.model.core.victim import Victim
from medrobust.threat.mean_loss import MeanLossSurrogate
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from tests.support.toys import Noise, ToyData

CONF = str(Path(__file__).parents[2] / "conf")
CARRIERS = {"pgd": PGD, "bim": BIM, "mim": MIM, "cw_linf": PGD}


def fitted(surrogate: Surrogate, attack: Iterated, images: Tensor, labels: Tensor) -> Iterated:
    attack.fit(surrogate, ToyData(images[60:], labels[60:]))
    return attack


@pytest.mark.parametrize("target", [None, NextClass()])
@pytest.mark.parametrize("kind", [PGD, MIM])
def test_features_hide_in_the_class_and_success_stays(
    kind: type[PGD] | type[MIM],
    target: Target | None,
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    x, y, s = images[:60], labels[:60], seeds[:60]
    plain = kind("16/255", steps=20, target=target)
    hiding = kind("16/255", steps=20, target=target, loss=HFC(components=2))
    fitted(surrogate, hiding, images, labels)
    wanted = (y + 1) % 3 if target else y
    with torch.no_grad():
        bound = hiding.loss.bind(surrogate, x, wanted, s, targeted=target is not None)
    assert isinstance(bound, HFC)
    success, likelihood = [], []
    for attack in (plain, hiding):
        found = attack(surrogate, x, y, seeds=s)
        with torch.no_grad():
            seen = surrogate(found, s, bound.taps)
        fooled = seen.label == wanted if target else seen.label != wanted
        success.append(float(fooled.float().mean()))
        likelihood.append(bound.likelihood(seen))
    assert success[1] > success[0] - 0.02
    assert success[0] > 0.95
    assert (likelihood[1] > likelihood[0]).float().mean() > 0.9
    assert likelihood[1].mean() > likelihood[0].mean() + 0.5


@pytest.mark.parametrize("kind", [PGD, MIM])
def test_the_constraint_does_not_hold_images_in_their_class(
    kind: type[PGD] | type[MIM],
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    """At a budget that is just enough: by default as many are fooled; a great weight costs half."""
    x, y, s = images[:60], labels[:60], seeds[:60]
    fooled = []
    for loss in (None, HFC(), HFC(weight=17)):
        attack = kind("7/255", steps=20, target=NextClass(), loss=loss)
        if loss is not None:
            fitted(surrogate, attack, images, labels)
        with torch.no_grad():
            found = surrogate.victim(attack(surrogate, x, y, seeds=s)).argmax(1)
        fooled.append(int((found == (y + 1) % 3).sum()))
    plain, hiding, held = fooled
    assert 30 < plain < 57
    assert hiding > plain - 4
    assert held < 0.6 * plain


def test_the_mahalanobis_distance_does_not_see_it(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """What HFC was made for (Yao et al., table 3): scikit-learn's distance to the target class."""
    x, y, s = images[:60], labels[:60], seeds[:60]
    plain = MIM("16/255", steps=20, target=NextClass())
    hiding = MIM("16/255", steps=20, target=NextClass(), loss=HFC())
    fitted(surrogate, hiding, images, labels)
    away = []
    for shown in (x, *(attack(surrogate, x, y, seeds=s) for attack in (plain, hiding))):
        with torch.no_grad():
            clean = surrogate.victim.features(images[60:], ["2", "4"])[1]
            seen = surrogate.victim.features(shown, ["2", "4"])[1]
        wanted = y if shown is x else (y + 1) % 3
        distance = torch.zeros(len(x))
        for tap, maps in clean.items():
            features, of = maps.mean((2, 3)), labels[60:]
            means = torch.stack([features[of == label].mean(0) for label in range(3)])
            model = EmpiricalCovariance().fit((features - means[of]).numpy())
            there = seen[tap].mean((2, 3)) - means[wanted]
            # As the detectors do: pixels on the scale of clean ones, layers alike.
            distance += torch.from_numpy(model.mahalanobis(there.numpy())) / features.shape[1]
        away.append(distance.median())
    natural, seen_plain, seen_hiding = away
    assert seen_plain > 1.3 * natural
    assert seen_hiding < 0.8 * natural


def test_weight_zero_is_the_carrier_alone(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, s = images[:30], labels[:30], seeds[:30]
    """Untargeted, that is the carrier aimed at the likeliest wrong class."""
    for mine, theirs in ((NextClass(), NextClass()), (None, MostLikely())):
        free = PGD("4/255", steps=4, target=mine, loss=HFC(weight=0, components=1))
        found = fitted(surrogate, free, images, labels)(surrogate, x, y, seeds=s)
        plain = PGD("4/255", steps=4, target=theirs)
        torch.testing.assert_close(found, plain(surrogate, x, y, seeds=s))


@pytest.mark.parametrize("early", [False, True])
def test_batch_and_order_change_nothing(
    early: bool, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    surrogate = VictimSurrogate(copy.deepcopy(victim).double())
    attack = PGD("3/255", steps=5, restarts=2, early_stop=early, loss=HFC(components=2))
    fitted(surrogate, attack, images, labels)
    x, y, s = images[:9].double(), labels[:9], seeds[:9]
    whole = attack(surrogate, x, y, seeds=s)
    order = torch.tensor([4, 0, 8])
    part = attack(surrogate, x[order], y[order], seeds=s[order])
    torch.testing.assert_close(whole[order], part, atol=1e-9, rtol=0)
    again = PGD("3/255", steps=5, restarts=2, early_stop=early, loss=HFC(components=2))
    fitted(surrogate, again, images, labels)
    assert torch.equal(whole, again(surrogate, x, y, seeds=s))


@pytest.mark.parametrize("loss", [HFC, FeatureMatch])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_gradient_mode(
    mode: Callable[[], torch.autograd.grad_mode.no_grad],
    loss: type[HFC] | type[FeatureMatch],
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    found = []
    for around in (torch.no_grad, mode):
        with around():
            attack = BIM("4/255", steps=3, loss=loss())
            fitted(surrogate, attack, images, labels)
            found.append(attack(surrogate, images[:8], labels[:8], seeds=seeds[:8]))
    assert torch.equal(*found)
    assert all(weight.grad is None for weight in surrogate.parameters())


@pytest.mark.parametrize("loss", [HFC, FeatureMatch])
def test_bfloat16(
    loss: type[HFC] | type[FeatureMatch],
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    surrogate = VictimSurrogate(copy.deepcopy(victim).bfloat16())
    attack = PGD("16/255", steps=10, loss=loss())
    fitted(surrogate, attack, images, labels)
    x, y = images[:40].bfloat16(), labels[:40]
    found = attack(surrogate, x, y, seeds=seeds[:40])
    assert found.dtype == torch.bfloat16
    assert (surrogate.victim(found).argmax(1) != y).float().mean() > 0.8


def test_through_a_random_defense(
    victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    surrogate = MeanLossSurrogate(victim, Noise(), eot_samples=4, chunk=50)
    attack = PGD("24/255", steps=8, loss=HFC(components=1))
    fitted(surrogate, attack, images, labels)
    found = attack(surrogate, images[:20], labels[:20], seeds=seeds[:20])
    assert (victim(found).argmax(1) != labels[:20]).float().mean() > 0.8


@pytest.mark.parametrize("name", CARRIERS)
def test_configs(name: str) -> None:
    with initialize_config_dir(CONF, version_base="1.3"):
        overrides = [f"+attack=hfc/{name}", "attack/target=next_class"]
        attack = instantiate(compose(overrides=overrides).attack)
    assert type(attack) is CARRIERS[name]
    assert (attack.eps, attack.steps) == (8 / 255, 100)
    assert isinstance(attack.target, NextClass)
    assert isinstance(attack.loss, HFC)
    assert attack.learns
    assert isinstance(attack.loss.base, Margin if name == "cw_linf" else CrossEntropy)


def test_any_attack_can_carry_it() -> None:
    overrides = ["+attack=pgd_l2", "attack/loss=hfc", "attack.loss.taps=[a,b]"]
    overrides += ["attack/loss@attack.loss.base=margin"]
    with initialize_config_dir(CONF, version_base="1.3"):
        attack = instantiate(compose(overrides=overrides).attack)
    assert isinstance(attack.loss, HFC)
    assert attack.loss.taps == ("a", "b")
    assert isinstance(attack.loss.base, Margin)
    assert len(attack.fingerprint) == 64
