"""The derivatives that an adaptive attacker takes through approximated purifiers."""

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.pgd import PGD
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.base import with_identity
from medrobust.defense.jpeg import JPEG, StraightThroughJPEG
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.threat.adaptive import Adaptive
from tests.support.helpers import small_cnn


@pytest.fixture
def images() -> tuple[Tensor, Tensor, Tensor]:
    x = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return x, torch.zeros(8, dtype=torch.int64), torch.arange(8)


def vote(denoiser: nn.Module) -> MedRDF:
    return MedRDF(GaussianNoise(0.05), denoiser, copies=8)  # type: ignore[arg-type]


def test_only_approximated_parts_change() -> None:
    for exact in (Median(3), BitDepth(4), vote(Median(3))):
        assert with_identity(exact) is exact
    inner = JPEG(60)
    defense = vote(inner)
    changed = with_identity(defense)
    assert isinstance(changed, MedRDF)
    assert isinstance(changed.denoiser, JPEG)
    assert changed.denoiser.identity
    assert not inner.identity
    assert defense.denoiser is inner
    assert changed.fingerprint == defense.fingerprint  # it answers the same


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
        name: [Adaptive(stand_in=name)(victim, one).fingerprint for one in (JPEG(60), Median(3))]
        for name in ("best", "identity")
    }
    assert prints["best"][0] != prints["identity"][0]
    assert prints["best"][1] == prints["identity"][1]


def test_another_word_is_refused() -> None:
    with pytest.raises(ValueError, match=r"threat\.stand_in=bpda, expected best or identity"):
        Adaptive(stand_in="bpda")
