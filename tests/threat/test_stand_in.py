"""The derivatives that an adaptive attacker takes through approximated purifiers."""

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.pgd import PGD
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.stand_in import stand_ins, with_identity
from medrobust.defense.gaussian_smoothing import GaussianSmoothing
from medrobust.defense.jpeg import JPEG, StraightThroughJPEG
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.fingerprint import digest
from medrobust.threat.adaptive import Adaptive
from tests.support.helpers import small_cnn


@pytest.fixture
def images() -> tuple[Tensor, Tensor, Tensor]:
    x = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return x, torch.zeros(8, dtype=torch.int64), torch.arange(8)


def vote(denoiser: nn.Module) -> MedRDF:
    return MedRDF(GaussianNoise(0.05), denoiser, copies=8)  # type: ignore[arg-type]


def test_only_approximated_parts_change() -> None:
    for exact in (GaussianSmoothing(), BitDepth(4), vote(GaussianSmoothing())):
        assert with_identity(exact) is exact
    inner = JPEG(60)
    defense = vote(inner)
    changed = with_identity(defense)
    assert isinstance(changed, MedRDF)
    assert isinstance(changed.denoiser, JPEG)
    assert changed.denoiser.chosen == "identity"
    assert not inner.chosen
    assert defense.denoiser is inner
    assert changed.fingerprint == defense.fingerprint  # it answers the same


def test_parts_with_a_derivative_of_their_own_take_it() -> None:
    x, seeds = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(2)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    changed = with_identity(Median(3))
    assert isinstance(changed, Median)
    leaf = x.requires_grad_()
    (found,) = torch.autograd.grad((changed.differentiable(leaf, seeds=seeds) * weight).sum(), leaf)
    (exact,) = torch.autograd.grad((changed.purify(leaf, seeds=seeds) * weight).sum(), leaf)
    assert torch.equal(found, exact)
    assert changed.stand_in_name != stand_ins(Median(3))["identity"].stand_in_name


@pytest.mark.parametrize("wrap", [lambda jpeg: jpeg, vote], ids=["purifier", "vote"])
def test_identity_is_bpda_and_the_answers_are_the_same(wrap, images) -> None:
    x, y, seeds = images
    victim = small_cnn()
    found = {}
    for name in ("best", "identity"):
        surrogate = Adaptive(eot_samples=4, stand_in=name)(victim, wrap(JPEG(60)))
        found[name] = PGD(eps="8/255", steps=3)(surrogate, x, y, seeds=seeds)
        found[f"{name} logits"] = surrogate(x, seeds).logits
    bpda = Adaptive(eot_samples=4)(victim, wrap(StraightThroughJPEG(60)))
    assert torch.equal(found["identity"], PGD(eps="8/255", steps=3)(bpda, x, y, seeds=seeds))
    assert torch.equal(found["best logits"], found["identity logits"])
    assert not torch.equal(found["best"], found["identity"])


def test_the_fingerprint_tells_them_apart_where_they_differ() -> None:
    victim = small_cnn()
    prints = {
        name: [
            Adaptive(stand_in=name)(victim, one).fingerprint
            for one in (JPEG(60), GaussianSmoothing(), Median(3))
        ]
        for name in ("best", "identity")
    }
    assert prints["best"][0] != prints["identity"][0]
    assert prints["best"][1] == prints["identity"][1]


def test_the_default_is_no_part_of_the_settings_that_earlier_rows_have() -> None:
    assert "stand_in" not in Adaptive().settings
    assert Adaptive().fingerprint == Adaptive(stand_in="best").fingerprint
    assert Adaptive(stand_in="identity").settings["stand_in"] == "identity"
    assert Adaptive().fingerprint != Adaptive(stand_in="identity").fingerprint


def test_identity_keeps_the_fingerprint_that_earlier_sets_have() -> None:
    victim, defense = small_cnn(), JPEG(60)
    parts = ["adaptive", victim.fingerprint, defense.fingerprint, 1]
    assert Adaptive()(victim, defense).fingerprint == digest(parts)
    surrogate = Adaptive(stand_in="identity")(victim, defense)
    assert surrogate.fingerprint == digest([*parts, "identity"])


def test_every_name_of_the_defense_is_taken() -> None:
    victim, defense = small_cnn(), vote(Median(3))
    prints = {
        name: Adaptive(stand_in=name)(victim, defense).fingerprint for name in stand_ins(defense)
    }
    assert list(prints) == ["soft", "exact", "identity"]
    assert len(set(prints.values())) == 3
    assert prints["soft"] == Adaptive()(victim, defense).fingerprint


def test_another_word_is_refused() -> None:
    expected = "expected best or identity or soft or exact"
    with pytest.raises(ValueError, match=rf"^threat\.stand_in=bpda .* of Median, {expected}$"):
        Adaptive(stand_in="bpda")(small_cnn(), Median(3))
